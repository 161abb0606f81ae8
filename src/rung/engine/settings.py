"""How a run is trained, under Hugging Face's names."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator, model_validator

from rung.config.base import Config
from rung.engine.optim import OptimizerConfig
from rung.engine.schedule import ScheduleKind

_EPOCHS = 3.0


class TrainingConfig(Config):
    """Settings of the training loop (names as in transformers' `TrainingArguments`)."""

    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Peak learning rate; None = the method's own default, since methods need different ones."""
    num_train_epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Passes over the training rows; None = the method's own default: 3, or more where a pass costs next to nothing."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; overrides num_train_epochs."""
    per_device_train_batch_size: int = Field(default=16, ge=1)
    """Rows of a micro-batch."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Micro-batches of an optimizer step."""
    lr_scheduler_type: ScheduleKind = "linear"
    """How the learning rate moves after the warm-up."""
    warmup_steps: float = Field(default=0.03, ge=0, allow_inf_nan=False)
    """Steps of the warm-up; below 1 a share of all steps."""
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """AdamW's decay of matrices."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment."""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment."""
    adam_epsilon: float = Field(default=1e-8, gt=0, allow_inf_nan=False)
    """Added to the root of the second moment."""
    max_grad_norm: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Gradients are scaled down to this norm; 0 = not."""
    seed: int = Field(default=42, ge=0)
    """Seed of everything random in the run."""
    group_by_length: bool = False
    """Rows of like length share a micro-batch. The flat layout has no padding to save; where length goes with the
    label, such batches hold one label each and train worse."""
    model_dropout: bool = True
    """Whether the model's own dropout is active in training (frozen bodies never drop)."""
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    """Compute layers again in the backward pass instead of keeping what they put out: less memory, about a third more
    time, the same weights to the bit. auto = only where the run would not fit into memory otherwise."""
    torch_compile: Literal["auto"] | bool = "auto"
    """Compile the cheap layers of a decoder (norms, gates, rotations) for training. auto = in runs so long that it
    pays, where there is a C++ compiler."""
    eval_strategy: Literal["epoch", "steps", "no"] = "epoch"
    """When the validation rows are scored."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Steps between two scorings, for eval_strategy=steps."""
    save_steps: int | None = Field(default=None, ge=1)
    """Steps between two checkpoints; None = whenever the validation rows are scored."""
    save_total_limit: int | None = Field(default=2, ge=1)
    """Checkpoints kept besides the best."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Stop after so many scorings without a better one; None = never."""
    load_best_model_at_end: bool = True
    """End with the weights of the best scoring, not the last."""
    metric_for_best_model: str | None = None
    """The validation metric that tells the best scoring; None = the loss where answers are written, else macro_f1."""
    predict_with_generate: Literal["auto"] | bool = "auto"
    """Write answers to some validation rows at each scoring, for the task's metrics beside the loss. auto = only where
    metric_for_best_model needs them."""
    max_predict_rows: int = Field(default=32, ge=1)
    """How many validation rows answers are written to at each scoring, evenly spread; the loss is of all rows."""

    @field_validator("metric_for_best_model")
    @classmethod
    def _without_eval(cls, name: str | None) -> str | None:
        """Hugging Face's names may begin with `eval_`."""
        return None if name is None else name.removeprefix("eval_")

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        if self.eval_strategy == "steps" and self.eval_steps is None:
            raise ValueError("eval_strategy=steps needs eval_steps")
        if self.eval_strategy == "no" and self.early_stopping_patience is not None:
            raise ValueError("early_stopping_patience needs eval_strategy=epoch or steps")
        if self.eval_strategy == "no" and self.metric_for_best_model is not None:
            raise ValueError("metric_for_best_model needs eval_strategy=epoch or steps")
        if self.eval_strategy == "no" and self.predict_with_generate is True:
            raise ValueError("predict_with_generate=true needs eval_strategy=epoch or steps")
        return self

    def optimizer(self, learning_rate: float) -> OptimizerConfig:
        """AdamW's settings at a known learning rate."""
        return OptimizerConfig(
            learning_rate=learning_rate,
            weight_decay=self.weight_decay,
            adam_beta1=self.adam_beta1,
            adam_beta2=self.adam_beta2,
            adam_epsilon=self.adam_epsilon,
        )

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        epochs = self.num_train_epochs or _EPOCHS
        return self.max_steps or max(1, math.ceil(epochs * steps_per_epoch))
