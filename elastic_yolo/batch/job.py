"""What a batch does, and how far it is: the two files by which a killed job goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elastic_yolo.batch.errors import OtherJob
from elastic_yolo.batch.formats import DRAWN, FORMATS, as_utf8, file_name
from elastic_yolo.batch.output import Output
from elastic_yolo.batch.pictures import Pictures, listing_digest, numbers_of
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.parallel import Parameters

CHECKPOINT = "checkpoint.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Share:
    """The part of the pictures that a process takes: those of `index`, from 0, of `completions`.

    The words are those of an Indexed Job of Kubernetes.
    """

    index: int = 0
    completions: int = 1

    def other(self) -> Share | None:
        """Return the share of another process, the first one; None if there is none."""
        if self.completions == 1:
            return None
        return Share(1 if self.index == 0 else 0, self.completions)

    def in_output(self, address: str) -> str:
        """Return the folder that belongs to it: the output itself, if it is the only one."""
        if self.completions == 1:
            return address
        return f"{address.rstrip('/')}/index-{self.index}-of-{self.completions}"


class Job(BaseModel):
    """What makes two runs the same job: one that was killed goes on only if all of it agrees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    digest: str
    resize: str
    threshold: float
    iou: float
    exact: bool
    formats: tuple[str, ...]
    annotations: str | None
    """Digest of the file with COCO's ids, if there is one."""
    pictures: int
    """Of the whole input, whatever the share."""
    listing: str
    """Digest of all names."""
    index: int
    completions: int

    def numbers(self) -> range:
        """Return the numbers of the pictures that are this job's."""
        return numbers_of(self.pictures, self.index, self.completions)


class Checkpoint(BaseModel):
    """How far a job is. Written behind the files that it counts, so that it never counts too many.

    A file that it does not count is written again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: Job
    done: int = 0
    """Pictures of this job, in its order, that have a result or an error."""
    shards: list[int] = Field(default_factory=list)
    """How many pictures each shard is about."""
    bad_shards: list[int] = Field(default_factory=list)
    """The shards with bad pictures, which have a file of errors."""
    bad: int = 0
    detections: int = 0
    labels: dict[str, int] = Field(default_factory=dict)
    engines: list[str] = Field(default_factory=list)
    """The engines and precisions that worked on it: `openvino int8`."""
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether every picture of the job has a result or an error."""
        return self.done == len(self.job.numbers())


class Manifest(BaseModel):
    """What a finished job wrote: the content of manifest.json."""

    model_config = ConfigDict(extra="ignore")

    input: str
    model: dict[str, str]
    pictures: int
    """Of this job: `results` and `errors` together."""
    results: int
    errors: int
    detections: int
    labels: dict[str, int]
    """How often each label was found, most frequent first."""
    files: dict[str, list[str]]
    """By format; and the errors."""
    engines: list[str]
    seconds: float
    pictures_per_s: float
    finished_at: str
    checkpoint: Checkpoint


def describe_job(
    model: Model,
    parameters: Parameters,
    formats: Sequence[str],
    pictures: Pictures,
    share: Share,
    annotations: str | None = None,
) -> Job:
    """Return what identifies a job; `annotations` is the digest of the file with COCO's ids."""
    return Job(
        model=as_utf8(model.name),
        version=as_utf8(model.version),
        digest=model.digest,
        resize=model.resize,
        threshold=model.threshold if parameters.threshold is None else parameters.threshold,
        iou=model.iou if parameters.iou is None else parameters.iou,
        exact=parameters.exact,
        formats=tuple(form for form in FORMATS if form in formats),
        annotations=annotations,
        pictures=len(pictures.names),
        listing=listing_digest(pictures.names),
        index=share.index,
        completions=share.completions,
    )


def read_checkpoint(output: Output, job: Job) -> Checkpoint:
    """Return how far a job is; raises OtherJob if the folder belongs to a different one."""
    checkpoint = _find_checkpoint(output)
    if checkpoint is None:
        _require_unused(output)
        return Checkpoint(job=job)
    if differences := _differences(checkpoint.job, job):
        raise OtherJob(
            f"{output.address}: has results of another job: {'; '.join(differences)}: choose "
            "another --output, or delete the folder"
        )
    return checkpoint


def require_same_input(output: Output, job: Job) -> None:
    """Raise OtherJob if another process of a job, that of `output`, found other pictures.

    Each process deals out the pictures that it finds in the input itself.
    """
    other = _find_checkpoint(output)
    if other is not None and other.job.listing != job.listing:
        raise OtherJob(
            f"{output.address}: its process found {other.job.pictures:,} pictures in the input, "
            f"this one finds {job.pictures:,}, or with other names: the input must not change "
            "while a job runs: choose another --output, and start all processes again"
        )


def _find_checkpoint(output: Output) -> Checkpoint | None:
    content, finished = output.read(CHECKPOINT), output.read(MANIFEST)
    if content is None and finished is None:
        return None
    try:
        # The manifest is written last: if both are there, the job is finished.
        if finished is not None:
            return Manifest.model_validate_json(finished).checkpoint
        return Checkpoint.model_validate_json(content or b"")
    except ValidationError:
        raise OtherJob(
            f"{output.address}: its {CHECKPOINT} or {MANIFEST} is not one that this version of "
            "elastic-yolo writes: choose another --output, or delete the folder"
        ) from None


def write_checkpoint(output: Output, checkpoint: Checkpoint) -> None:
    """Write how far a job is; raises OSError or StorageFailed."""
    output.write(CHECKPOINT, checkpoint.model_dump_json().encode())


def _require_unused(output: Output) -> None:
    for name in (file_name(form, 0) for form in FORMATS if form != DRAWN):
        if output.read(name) is not None:
            raise OtherJob(
                f"{output.address}: has {name}, but neither {CHECKPOINT} nor {MANIFEST}: choose "
                "another --output, or delete the folder"
            )


_WORDS = {
    "digest": "digest of the model",
    "annotations": "digest of --annotations",
    "pictures": "number of pictures in the input",
    "listing": "digest of the names in the input",
}
# Enough of a digest to tell two apart.
_SHOWN = len("sha256:") + 12


def _differences(before: Job, now: Job) -> list[str]:
    """Return what differs between two jobs, in words: `threshold: 0.5, now 0.25`."""
    old, new = before.model_dump(), now.model_dump()
    return [
        f"{_WORDS.get(name, name)}: {_shown(old[name])}, now {_shown(new[name])}"
        for name in old
        if old[name] != new[name]
    ]


def _shown(value: Any) -> str:
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    return text[:_SHOWN] if text.startswith("sha256:") else text
