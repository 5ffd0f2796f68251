"""Which framework trains faster on this machine, each contender held to the same costs."""

from .contenders import CONTENDERS as CONTENDERS
from .contenders import Contender as Contender
from .document import check_writable as check_writable
from .document import read as read
from .document import save as save
from .document import to_json as to_json
from .figure import plot as plot
from .report import print_report as print_report
from .rounds import Settings as Settings
from .rounds import retraced as retraced
from .rounds import run as run
