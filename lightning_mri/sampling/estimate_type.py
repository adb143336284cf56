"""What a sampler's images are: draws, approximate draws, or an estimate."""

from enum import Enum


class EstimateType(Enum):
    """What one result of a sampler may be taken for; its value is the sentence for people.

    Only the spread of `POSTERIOR` draws is an error bar, and that for the given prior, coil maps and noise
    level.
    """

    POSTERIOR = "a draw from the posterior, in the limit of many steps"
    APPROXIMATE = "an approximate draw, whose spread is no error bar"
    POINT = "a point estimate, whose spread means nothing"
