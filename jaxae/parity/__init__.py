"""Parity: proof that two networks of the two frameworks compute the same thing, rung by rung.

Needs torch.
"""

from jaxae.parity.compare import Comparison as Comparison
from jaxae.parity.compare import Difference as Difference
from jaxae.parity.compare import compare as compare
from jaxae.parity.ladder import RUNGS as RUNGS
from jaxae.parity.ladder import Plan as Plan
from jaxae.parity.ladder import Report as Report
from jaxae.parity.ladder import climb as climb
from jaxae.parity.mutation import MUTATIONS as MUTATIONS
from jaxae.parity.pair import CASES as CASES
from jaxae.parity.report import markdown as markdown
from jaxae.parity.report import table as table
from jaxae.parity.report import verdict as verdict
from jaxae.parity.report import write_json as write_json
from jaxae.parity.report import write_plot as write_plot
from jaxae.parity.row import Gap as Gap
from jaxae.parity.row import Row as Row
from jaxae.parity.trajectory import Curve as Curve
