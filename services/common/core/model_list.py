"""The models that callers may name, passed from service to service."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ModelSummary(BaseModel):
    """A model as callers may choose it."""

    model_config = ConfigDict(frozen=True)

    name: str
    """By which it is requested."""
    version: str
    threshold: float
    """Lowest score of a box, unless a request states another."""
    labels: int
    """How many there are."""


class ModelList(BaseModel):
    """The response of `GET /models`."""

    model_config = ConfigDict(frozen=True)

    default: ModelSummary | None
    """The model of a request that names none; None: such a request is refused."""
    models: list[ModelSummary]

    def only(self, names: tuple[str, ...]) -> ModelList:
        """Return the list for a caller that may use these models, of which the first is default."""
        known = {model.name: model for model in self.models}
        allowed = [known[name] for name in names if name in known]
        # Also if the first is not served: a request that names no model is refused then.
        default = known.get(names[0]) if names else None
        return ModelList(default=default, models=allowed)
