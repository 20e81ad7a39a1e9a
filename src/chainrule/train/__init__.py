"""Training: the loop, what may watch it, what it leaves behind, how it goes on after a stop."""

from chainrule.train.callbacks import Callback, Chunk, EpochEnd, Start, Watch
from chainrule.train.history import History
from chainrule.train.loop import Fit
from chainrule.train.objective import Model, Objective
from chainrule.train.progress import Progress
from chainrule.train.recorder import Recorder
from chainrule.train.stopping import EarlyStopping, Plateau

__all__ = [
    "Callback",
    "Chunk",
    "EarlyStopping",
    "EpochEnd",
    "Fit",
    "History",
    "Model",
    "Objective",
    "Plateau",
    "Progress",
    "Recorder",
    "Start",
    "Watch",
]
