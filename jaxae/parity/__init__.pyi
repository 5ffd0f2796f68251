"""Parity: proof that two networks of the two frameworks compute the same thing, rung by rung.

Needs torch.
"""

from .compare import Comparison as Comparison
from .compare import Difference as Difference
from .compare import compare as compare
from .ladder import RUNGS as RUNGS
from .ladder import Plan as Plan
from .ladder import Report as Report
from .ladder import climb as climb
from .mutation import MUTATIONS as MUTATIONS
from .pair import CASES as CASES
from .report import markdown as markdown
from .report import table as table
from .report import verdict as verdict
from .report import write_json as write_json
from .report import write_plot as write_plot
from .row import Gap as Gap
from .row import Row as Row
from .trajectory import Curve as Curve
