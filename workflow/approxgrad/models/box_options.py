"""Options that models in files and behind services have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from approxgrad.descriptions import Flag, Integer, option

Transform = Annotated[
    Literal["log", "logit"] | None,
    option("For outputs that are probabilities: log for a softmax, logit for any others."),
]
ChannelsLast = Annotated[
    Flag, option("Whether the model takes images as (height, width, channels); data have channels first.")
]
RoundInputs = Annotated[
    Flag, option("Whether inputs are rounded to the model's type, such as float16 or uint8, as a part of it.")
]
Outputs = Annotated[
    Integer | None,
    option(
        "Outputs of the model; by default one for each class, or a single one for a regression. More are allowed where"
        " classes are numbers from 0 on; others are named as `classes` of the data set.",
        ge=1,
    ),
]
