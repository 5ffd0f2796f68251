"""Weights and optimizer state between PyTorch and Flax NNX, both ways, for any network."""

from jaxae.port.files import load as load
from jaxae.port.files import save as save
from jaxae.port.optimizer.convert import OptimizerPort as OptimizerPort
from jaxae.port.optimizer.convert import fill_optimizer as fill_optimizer
from jaxae.port.optimizer.convert import optimizer_from_torch as optimizer_from_torch
from jaxae.port.optimizer.convert import optimizer_to_torch as optimizer_to_torch
from jaxae.port.optimizer.hyperparameters import SGD as SGD
from jaxae.port.optimizer.hyperparameters import Adam as Adam
from jaxae.port.optimizer.hyperparameters import AdamW as AdamW
from jaxae.port.optimizer.hyperparameters import Group as Group
from jaxae.port.report import PortReport as PortReport
from jaxae.port.report import PortRow as PortRow
from jaxae.port.row import Layer as Layer
from jaxae.port.row import Row as Row
from jaxae.port.row import Setting as Setting
from jaxae.port.table import LAYERS as LAYERS
from jaxae.port.table import register as register
from jaxae.port.weights import describe as describe
from jaxae.port.weights import from_torch as from_torch
from jaxae.port.weights import to_arrays as to_arrays
from jaxae.port.weights import to_torch as to_torch
