"""Parity: proof that two networks of the two frameworks compute the same thing, rung by rung; needs torch."""

from .cases import CASES as CASES
from .compare import compare as compare
from .comparison import Comparison as Comparison
from .comparison import Difference as Difference
from .gap import Gap as Gap
from .ladder import LadderResult as LadderResult
from .ladder import run_ladder as run_ladder
from .mutations import MUTATIONS as MUTATIONS
from .report import table as table
from .report import verdict as verdict
from .report import write_json as write_json
from .report import write_plot as write_plot
from .rung_result import RungResult as RungResult
from .settings import RUNGS as RUNGS
from .settings import LadderSettings as LadderSettings
from .trajectory import Curve as Curve
from .workers import run_in_workers as run_in_workers
