"""Which framework trains faster on this machine, each contender held to the same costs."""

from .benchmark import run as run
from .contenders import CONTENDERS as CONTENDERS
from .contenders import Contender as Contender
from .figure import plot as plot
from .pair.compare import compare as compare
from .pair.compare import compare_file as compare_file
from .pair.contenders import PAIR_CONTENDERS as PAIR_CONTENDERS
from .pair.contenders import PairContender as PairContender
from .pair.figure import plot_pair as plot_pair
from .pair.page import write_page as write_page
from .pair.report import print_pair as print_pair
from .pair.result import PairResult as PairResult
from .pair.result import PairRow as PairRow
from .pair.settings import PairSettings as PairSettings
from .report import print_report as print_report
from .result import BenchmarkResult as BenchmarkResult
from .result import ContenderResult as ContenderResult
from .result import read as read
from .result import save as save
from .settings import BenchmarkSettings as BenchmarkSettings
