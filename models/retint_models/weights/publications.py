"""What others published of a network: weights files, and scores. Standard library only."""

from dataclasses import dataclass, field
from urllib.parse import quote

HUB = "https://huggingface.co"
"""Address of the hub, where most authors publish weights; mirrors of it answer to the same paths."""


@dataclass(frozen=True)
class PublishedFile:
    """A weights file that somebody else published.

    Attributes:
        file: Its name; on the hub its path in the repository.
        address: URL of the download; empty where it is on the hub, or nowhere any more.
        repository: Its repository on the hub, `owner/name`; empty where it is not on the hub.
        revision: Commit, branch or tag of the repository.
        bytes: Its size; 0 if not known.
        sha256: In hex; empty if not known.
        vouched_by: Where size and SHA-256 are known from, in words.
    """

    file: str
    address: str = ""
    repository: str = ""
    revision: str = ""
    bytes: int = 0
    sha256: str = ""
    vouched_by: str = ""

    @property
    def is_downloadable(self) -> bool:
        """Whether it is known where the file is."""
        return bool(self.address or self.repository)

    @property
    def place(self) -> str:
        """Where it is, as `retint weights fetch --from` takes it; its bare name where that is not known."""
        on_hub = f"{self.repository}@{self.revision}/{self.file}" if self.repository else ""
        return on_hub or self.address or self.file

    @property
    def line(self) -> str:
        """All of this in one line."""
        size = f"{self.bytes:,} bytes" if self.bytes else "size not known"
        return f"{self.place}: {size}, SHA-256 {self.sha256 or 'not known'}. {self.vouched_by}".rstrip()

    def to_url(self, hub: str = HUB) -> str:
        """Return the URL of the download, on the hub or on a mirror of it; empty if it is not known."""
        if not self.repository:
            return self.address
        path = f"{quote(self.repository)}/resolve/{quote(self.revision, safe='')}/{quote(self.file)}"
        return f"{hub.rstrip('/')}/{path}"


@dataclass(frozen=True)
class PublishedScores:
    """Scores of a network that others measured.

    Attributes:
        weights: Which weights were measured: a name, and whether they are those of this card.
        test: On what.
        scores: By name.
        source: Who published them, and where we read them.
    """

    weights: str
    test: str
    source: str
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """All of this in one line."""
        values = ", ".join(f"{name} {value:g}" for name, value in self.scores.items())
        return f"{values} ({self.test}). Weights: {self.weights} Source: {self.source}"
