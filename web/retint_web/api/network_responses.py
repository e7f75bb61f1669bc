"""Models of the API's answers about networks."""

from typing import Any

from pydantic import Field

from retint_web.api.responses import Answer


class Setting(Answer):
    """A number that a recipe may set for a network."""

    default: float
    least: float
    most: float
    step: float = Field(description="1 if only whole numbers are allowed.")
    title: str


class Network(Answer):
    """A network's card."""

    name: str
    kind: str = Field(description="`colorizer` or `defader`.")
    title: str
    url: str = Field(description="The network's page in the portal.")
    is_here: bool = Field(description="Whether its weights are installed, so that a recipe may name it.")
    good_at: str
    weaknesses: list[str]
    parameters: int = Field(description="Number of parameters; 0 if unknown.")
    size: int = Field(description="Bytes of the weights; 0 if they are not installed.")
    sha256: str = Field(description="Hash of the weights; empty if they are not installed.")
    license: str = Field(description="License of the weights.")
    code_license: str = Field(description="License of its authors' code; empty for our own networks.")
    source: str
    data: list[str] = Field(description="What it was trained on, and on what terms that may be used.")
    not_known: list[str] = Field(description="What nobody has published, a sentence each.")
    undisclosed_data: str = Field(description="Why an operator must accept its training data; empty if not.")
    settings: dict[str, Setting]
    scores: dict[str, Any] = Field(description="Measured on our own photographs; empty if not measured.")
    published_scores: list[dict[str, Any]] = Field(description="What others measured, and of which weights.")
    preprocessing: dict[str, Any] = Field(description="How a photo is prepared for it.")
    official: list[dict[str, Any]] = Field(description="The files that its authors published, and where.")
    origin: str = Field(description="Whether the weights here are official; empty if they are not installed.")


class Networks(Answer):
    """All networks."""

    items: list[Network]
