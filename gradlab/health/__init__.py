"""Whether the parts of a training run work at all: an actor that can move, a critic that learns, a replay that fits."""

from gradlab.health.movement import change
from gradlab.health.replay import action_distance, novel_share, residuals
from gradlab.health.saturation import Saturation, saturation

__all__ = ["Saturation", "action_distance", "change", "novel_share", "residuals", "saturation"]
