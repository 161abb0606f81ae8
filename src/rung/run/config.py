"""A run as the user writes it: model x task x method, and everything else by default."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rung.config.base import Config
from rung.config.hashing import config_hash
from rung.data.settings import DataConfig
from rung.endpoints.settings import EndpointConfig
from rung.engine.settings import TrainingConfig
from rung.methods.base import Method
from rung.methods.union import AnyMethod
from rung.models.quantize import Quantization
from rung.objectives.base import Objective
from rung.objectives.classification import Classification
from rung.objectives.union import AnyObjective, worded
from rung.tasks.classification import ClassificationConfig
from rung.tasks.union import AnyTask

DEFAULT_MODEL = "minilm-l6"


class RunConfig(Config):
    """One run: its artifact is the folder `output_dir`."""

    data: DataConfig
    """The user's rows."""
    task: AnyTask = ClassificationConfig()
    """The user's problem; columns left out are inferred."""
    model: str | None = DEFAULT_MODEL
    """Catalogue name, hub id, folder, `pypi:package`, `openai:model@url`, or an earlier run's folder."""
    method: AnyMethod
    """What is changed."""
    objective: AnyObjective | None = None
    """What is learned; None = next tokens for decoders, an output layer for encoders, the answer from its source for
    encoder-decoders."""
    training: TrainingConfig = TrainingConfig()
    """How the weights are trained."""
    endpoint: EndpointConfig = EndpointConfig()
    """How an endpoint is asked (`model: openai:model@url`)."""
    max_length: int = Field(default=1024, ge=8)
    """Tokens a row may have, never more than the model can read; longer texts are cut and counted."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Dtype of frozen weights; auto = bf16 where the hardware has it."""
    quantization: Quantization = "none"
    """How the frozen maps are stored: `none`, `int8` or `nf4` (4 bits), with the library bitsandbytes."""
    device: str = "auto"
    """`cpu`, `cuda`, `mps`, or auto."""
    num_threads: int | None = Field(default=None, ge=1)
    """Threads of the CPU; None = all cores. Part of the run: another number rounds differently."""
    name: str | None = None
    """Name in tables; None = the method's."""
    output_dir: str = "out"
    """The artifact folder."""

    @property
    def title(self) -> str:
        """The run's name in tables."""
        return self.name or self.method.name

    @property
    def asks_endpoint(self) -> bool:
        """Whether the model is behind an API and not on this machine."""
        return self.model is not None and self.method.kind != "control" and self.model.startswith("openai:")

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result: where it is written, and whether layers are recomputed, do not."""
        beside = {"output_dir": True, "name": True, "training": {"gradient_checkpointing"}, "endpoint": True}
        settings = self.model_dump(mode="json", exclude=beside)
        return settings | {"endpoint": self.endpoint.deciding()} if self.asks_endpoint else settings

    def hash(self) -> str:
        """Hash of `identity`."""
        return config_hash(self.identity())


def objective_for(config: RunConfig, model_kind: str) -> Objective | None:
    """The objective of a run: what was asked, or the usual one of the model's kind; None for untrained prompts."""
    method: Method = config.method
    if method.kind != "weights":
        return None
    if config.objective is not None:
        return config.objective
    return Classification() if model_kind == "encoder" or method.name == "head_only" else worded(model_kind)
