"""Weights and optimizer state between PyTorch and Flax NNX, both ways, for any network."""

from .files import load as load
from .files import save as save
from .optimizer.convert import OptimizerPort as OptimizerPort
from .optimizer.convert import fill_optimizer as fill_optimizer
from .optimizer.convert import optimizer_from_torch as optimizer_from_torch
from .optimizer.convert import optimizer_to_torch as optimizer_to_torch
from .optimizer.hyperparameters import SGD as SGD
from .optimizer.hyperparameters import Adam as Adam
from .optimizer.hyperparameters import AdamW as AdamW
from .optimizer.hyperparameters import Group as Group
from .options import PortOptions as PortOptions
from .report import PortReport as PortReport
from .report import PortRow as PortRow
from .row import Layer as Layer
from .row import Row as Row
from .row import Setting as Setting
from .table.lookup import LAYERS as LAYERS
from .table.lookup import register as register
from .weights import describe as describe
from .weights import from_torch as from_torch
from .weights import to_arrays as to_arrays
from .weights import to_torch as to_torch
