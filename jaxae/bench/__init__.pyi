"""Which framework trains faster on this machine, each contender held to the same costs."""

from .benchmark import run as run
from .contenders import CONTENDERS as CONTENDERS
from .contenders import Contender as Contender
from .figure import plot as plot
from .report import print_report as print_report
from .result import BenchmarkResult as BenchmarkResult
from .result import ContenderResult as ContenderResult
from .result import read as read
from .result import save as save
from .settings import BenchmarkSettings as BenchmarkSettings
