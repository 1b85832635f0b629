"""Models behind a service as a kind of model of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Flag, Integer, Number, Text, option
from approxgrad.models.box_options import ChannelsLast, Outputs, RoundInputs, Transform
from approxgrad.models.kind import MODELS, ModelKind, Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ANSWERS = Path("data/answers")
"""Folder of a study for what services answered. No rule makes it, so that it stays when a job fails."""


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Service(ModelKind):
    """A model behind a service, which is asked by jobs and never when a study is planned."""

    name: ClassVar[str] = "service"
    label: ClassVar[str] = "model behind a service"
    differentiable: ClassVar[bool] = False
    timed: ClassVar[bool] = False

    service: Annotated[
        Text,
        option(
            "Address of the service: grpc://host:port, grpcs://, http:// or https://. Its model has no gradient, so"
            " only approximated ones are studied."
        ),
    ]
    protocol: Annotated[
        Literal["grpc", "v2", "v2-json", "mlflow", "mlflow-dataframe", "tensorflow", "template"] | None,
        option(
            "How it is asked: the Open Inference Protocol v2 by gRPC, REST (v2) or JSON alone, or plain JSON; by"
            " default what the address says."
        ),
    ] = None
    model: Annotated[Text | None, option("Name of the model at the service, for protocol v2.")] = None
    version: Annotated[Text | None, option("Its version; by default the newest.")] = None
    input: Annotated[Text | None, option("Name of the input, for protocol v2, if there are several.")] = None
    output: Annotated[Text | None, option("Name of the output, likewise.")] = None
    dtype: Annotated[Text | None, option("Type of the rows, if the service does not say it, such as float32.")] = None
    request: Annotated[
        dict[Any, Any] | None,
        option("For protocol template: JSON with $rows for all rows, or $row for each of them."),
    ] = None
    response: Annotated[
        Text | None,
        option("For protocol template: where the outputs stand in the reply, such as predictions or data.*.scores."),
    ] = None
    headers: Annotated[
        dict[Text, Text],
        option("Sent with each request; env:NAME is read from the environment and stands in no file."),
    ] = field(default_factory=dict)
    token_variable: Annotated[
        Text | None, option("Environment variable with a token, sent as Authorization: Bearer; it stands in no file.")
    ] = None
    insecure: Annotated[Flag, option("Whether a token may be sent unencrypted to another machine.")] = False
    request_rows: Annotated[
        Integer | None, option("Rows of a request; by default as many as the service takes.", ge=1)
    ] = None
    concurrency: Annotated[Integer, option("Requests at once, of each job.", ge=1, le=64)] = 1
    requests_per_second: Annotated[Number | None, option("At most so many, of each job.", gt=0)] = None
    timeout: Annotated[Number, option("Seconds for one request.", gt=0)] = 60.0
    patience: Annotated[
        Number, option("Seconds that the service may fail to answer a request before the job fails.", ge=0)
    ] = 300.0
    cache: Annotated[
        Flag, option("Whether answers are kept in data/answers, so that no row is asked for twice by any job.")
    ] = True
    transform: Transform = None
    channels_last: ChannelsLast = False
    round_inputs: RoundInputs = False
    outputs: Outputs = None

    @property
    def rounds_to(self) -> None:
        """None: what the service has answered is kept, and more is not asked."""
        return

    def faults(self) -> list[str]:
        """Return a line if the options do not go together; nothing is sent."""
        try:
            self._contact()
        except (TypeError, ValueError) as error:
            return [str(error).replace("address:", "service:", 1)]
        return []

    def opening(self) -> dict[str, Any]:
        """Return also how rows are evaluated: what is kept of answers depends on it."""
        looks = {} if self.check_rows else {"check_rows": False}
        return super().opening() | looks | ({} if self.batch_size is None else {"batch_size": self.batch_size})

    def open(
        self, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype, file: Path | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return the model as a callable from tensors to tensors."""
        from approxgrad.models.opening import opened_black_box, wanted_outputs
        from approxgrad.models.services.service_model import ServiceModel

        given = wanted_outputs(self.outputs, outputs)
        model = ServiceModel(
            self.service,
            shape=shape,
            batch_size=min((rows for rows in (self.request_rows, self.batch_size) if rows), default=None),
            cache=ANSWERS if self.cache else None,
            only_model=True,
            check_rows=self.check_rows,
            transform=self.transform,
            channels_last=self.channels_last,
            round_inputs=self.round_inputs,
            **self._options(),
        )
        return opened_black_box(model, f"service {self.service}", shape, given, device, dtype)

    def _options(self) -> dict[str, Any]:
        """Return the options that say how the service is reached, under the names that Contact has for them."""
        from approxgrad.models.services.contact import Contact

        names = {own.name for own in fields(Contact)} & {own.name for own in fields(self)}
        return {name: getattr(self, name) for name in names}

    def _contact(self) -> None:
        """Raise a ValueError or TypeError if the options do not go together."""
        from approxgrad.models.services.contact import Contact

        Contact(address=self.service, **self._options())
