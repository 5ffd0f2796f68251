"""Which framework trains faster on this machine, each contender held to the same costs."""

from jaxae.bench.contenders import CONTENDERS as CONTENDERS
from jaxae.bench.contenders import Contender as Contender
from jaxae.bench.document import check_writable as check_writable
from jaxae.bench.document import read as read
from jaxae.bench.document import save as save
from jaxae.bench.document import to_json as to_json
from jaxae.bench.figure import plot as plot
from jaxae.bench.report import print_report as print_report
from jaxae.bench.rounds import Settings as Settings
from jaxae.bench.rounds import retraced as retraced
from jaxae.bench.rounds import run as run
