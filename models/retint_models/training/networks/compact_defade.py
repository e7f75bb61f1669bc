"""Training of `compact-defade`: photographs are aged at random (`datasets.fading`), and it learns to undo that."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from retint_models.datasets.fading import Floats, Pair, as_floats, draw_family, simulate
from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import delta_e_2000
from retint_models.evaluation.prints import FAMILIES, age_photograph
from retint_models.networks.color import density_to_srgb, rgb_to_lab
from retint_models.networks.compact_defade import (
    SIDE,
    DefadeDecision,
    DefadeNet,
    close_gate_if_invisible,
    density_change,
    pixel_positions,
    repair,
    tie_channels,
)
from retint_models.training.loop import Judge, TrainingOptions, TrainingRun, TrainingStep
from retint_models.training.print_pool import (
    DrawPair,
    Prints,
    as_pictures,
    is_of,
    make_folded_copy,
    open_print_pool,
)

HALF_WEIGHT = ("Oldpel/flower_photos",)
"""Sources drawn half as often because they fill too much of the set: flowers are a fifth of the photographs."""


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of `compact-defade`. The field names are keys in logs and checkpoints.

    Attributes:
        prints: How many are made, before the first step; each is drawn many times.
        batch: Prints a step.
        again: How many of them the network sees again after its repair, and should then leave alone.
        again_from: Share of the run after which it does; before, its repairs are no better than the prints.
        again_weight: Weight of repairs seen again. A repair looks like a slightly faded print: with more weight, prints
            stay faded.
        rate: Largest learning rate.
        decay: Weight decay.
        clean: Weight of photographs that are not aged.
        gate: Weight of the gate's cross-entropy.
        smooth: Weight of the grid's roughness.
        stride: The loss compares every n-th pixel in each direction, from a random start; it is enough, and fast.
    """

    prints: int = 15_000
    batch: int = 16
    again: int = 4
    again_from: float = 0.5
    again_weight: float = 0.3
    rate: float = 1e-3
    decay: float = 0.02
    clean: float = 3.0
    gate: float = 0.2
    smooth: float = 0.5
    stride: int = 4


class Batch(NamedTuple):
    """Prints of a step.

    Attributes:
        inputs: (B, 3, 128, 128), sRGB in [0, 1]: what the network sees.
        features: (B, 112, 8, 8), what its encoder sees in them.
        truth: (B, 3, 128, 128), what they should become.
        weight: (B,) of each print in the loss.
    """

    inputs: Tensor
    features: Tensor
    truth: Tensor
    weight: Tensor


def make_run(
    folder: Path,
    photos: Photos,
    judge: Judge,
    imagenet: dict[str, Tensor],
    options: TrainingOptions,
    hyperparameters: Hyperparameters | None = None,
) -> TrainingRun:
    """Set up a run; make its prints, where the folder does not hold them.

    Args:
        folder: Folder of the run.
        photos: Photographs to train on, decoded at a short side of 192 or more.
        judge: Scores the network while it trains; usually from `make_judge`.
        imagenet: Weights of EfficientNet-Lite0 trained on ImageNet.
        options: How long the run lasts.
        hyperparameters: Those of the shipped weights by default.
    """
    chosen = hyperparameters or Hyperparameters()
    torch.manual_seed(options.seed)
    network = DefadeNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.encoder.load_imagenet(imagenet)
    parameters = [value for value in network.parameters() if value.requires_grad]
    prints = open_print_pool(folder / "prints", network, make_print_drawer(photos), chosen.prints, options.seed)
    return TrainingRun(
        folder,
        network,
        optimizer=torch.optim.AdamW(parameters, lr=chosen.rate, betas=(0.9, 0.98), weight_decay=chosen.decay),
        training_step=make_training_step(network, prints, chosen),
        judge=judge,
        options=options,
        settings={"recipe": "compact-defade", "photos": photos.identity} | asdict(chosen),
    )


def make_training_step(network: DefadeNet, prints: Prints, hyperparameters: Hyperparameters) -> TrainingStep:
    """Return the training step: it draws prints, and repairs some of them twice."""
    frozen = make_folded_copy(network)

    def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        step_rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=rng)))
        batch = read_batch(prints[step_rng.integers(len(prints), size=hyperparameters.batch)], hyperparameters)
        if progress >= hyperparameters.again_from:
            batch = show_again(network, frozen, batch, hyperparameters)
        return {"loss": compute_loss(network, batch, hyperparameters, step_rng)}

    return step


def make_print_drawer(photos: Photos) -> DrawPair:
    """Return a function that ages a crop of a photograph at random.

    What is not to fade is drawn the more often the more it looks faded: sunsets, colored light, fog.
    """
    by_source = np.array([0.5 if entry.get("source") in HALF_WEIGHT else 1.0 for entry in photos.entries])
    by_looks = by_source * [0.5 + 4 * missing_range(photo) for photo in photos]
    shares = {True: by_looks / by_looks.sum(), False: by_source / by_source.sum()}

    def draw(rng: Generator) -> Pair:
        family = draw_family(rng)
        photo = photos[rng.choice(len(photos), p=shares[family == "clean"])]
        return simulate(draw_crop(photo, rng), rng, family)

    return draw


def missing_range(photo: NDArray[np.uint8]) -> float:
    """Return which share of all code values the channel that has fewest of them does not reach; in 0 to 1."""
    low, high = np.percentile(photo[::6, ::6].reshape(-1, 3), (1, 99), axis=0)
    return float(1 - (high - low).min() / 255)


def draw_crop(photo: NDArray[np.uint8], rng: Generator) -> Floats:
    """Draw a crop of a photograph at random: float32 (128, 128, 3), sRGB in [0, 1]; half of them are mirrored.

    Crops are resized by Pillow, which takes boxes with fractions of pixels; torchvision's crops are whole pixels. They
    are drawn from numpy's generator, as the prints made of them are.
    """
    size = np.array(photo.shape[1::-1])
    extent = size * rng.uniform(0.6, 1) * np.array([1, rng.uniform(0.85, 1)])[:: rng.choice([1, -1])]
    start = rng.uniform(0, 1, 2) * (size - extent)
    box = (*start, *(start + extent))
    crop = np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))
    return as_floats(crop[:, :: rng.choice([1, -1])])


def read_batch(prints: Prints, hyperparameters: Hyperparameters) -> Batch:
    """Turn prints of a pool into tensors."""
    is_clean = torch.from_numpy(is_of("clean", prints))
    return Batch(
        inputs=as_pictures(prints["print"]),
        features=torch.from_numpy(prints["features"]).permute(0, 3, 1, 2).float(),
        truth=as_pictures(prints["truth"]),
        weight=torch.where(is_clean, hyperparameters.clean, 1.0),
    )


@torch.no_grad()
def show_again(network: DefadeNet, frozen: DefadeNet, batch: Batch, hyperparameters: Hyperparameters) -> Batch:
    """Add the repairs of the first prints to a batch, as if they were clean photographs.

    Args:
        network: Repairs them.
        frozen: A copy of it that recognizes faster.
        batch: Prints.
        hyperparameters: Say how many.
    """
    network.eval()
    inputs = batch.inputs[: hyperparameters.again]
    decision = network.decide(inputs, batch.features[: hyperparameters.again])
    network.train()
    repaired = round_to_8_bits(repair(decision, inputs.flatten(2), pixel_positions(SIDE, SIDE)).view_as(inputs))
    weight = torch.full((len(repaired),), hyperparameters.again_weight)
    more = Batch(repaired, frozen.recognize(repaired), repaired, weight)
    return Batch(*(torch.cat(both) for both in zip(batch, more, strict=True)))


def compute_loss(network: DefadeNet, batch: Batch, hyperparameters: Hyperparameters, rng: Generator) -> Tensor:
    """Return the loss of the network's repairs, with its own gate and with the gate fully open.

    Behind a closed gate nothing would be learned.
    """
    decision = tie_channels(network.decide(batch.inputs, batch.features), batch.inputs)
    stride = hyperparameters.stride
    rows, columns = (slice(int(rng.integers(stride)), None, stride) for _ in range(2))
    at = pixel_positions(SIDE, SIDE).view(SIDE, SIDE, 2)[rows, columns]
    before, after = batch.inputs[..., rows, columns], batch.truth[..., rows, columns]
    true_lab = rgb_to_lab(after)
    error = torch.zeros(len(before))
    densities, change = density_change(decision, before.flatten(2), at.flatten(0, 1))
    for gate in (decision.gate, torch.ones_like(decision.gate)):
        ours = density_to_srgb(densities + gate[:, None, None] * change).view_as(before)
        error = error + picture_distance(ours, after, true_lab) / 2
    fading = (rgb_to_lab(before) - true_lab).norm(dim=1).mean((1, 2))
    gate_loss = F.binary_cross_entropy_with_logits(decision.gate_logit, ((fading - 1.5) / 4).clamp(0, 1), batch.weight)
    return (
        (error * batch.weight).mean()
        + hyperparameters.gate * gate_loss
        + hyperparameters.smooth * grid_roughness(decision)
    )


def picture_distance(ours: Tensor, truth: Tensor, true_lab: Tensor) -> Tensor:
    """Return the distance of pictures (B, 3, h, w) from the truth, (B,): L1 in Lab / 10 + 2 L1 in sRGB."""
    in_lab = (rgb_to_lab(ours) - true_lab).abs().mean((1, 2, 3))
    return in_lab / 10 + 2 * (ours - truth).abs().mean((1, 2, 3))


def stack_pictures(pictures: list[Floats]) -> Tensor:
    """Stack float32 (h, w, 3) pictures as (B, 3, h, w)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def round_to_8_bits(rgb: Tensor) -> Tensor:
    """Round sRGB in [0, 1] to whole code values of 255."""
    return (rgb * 255).round() / 255


def grid_roughness(decision: DefadeDecision) -> Tensor:
    """Return the mean square of the differences between neighboring cells of the grid, along all three directions."""
    return sum((decision.grid.diff(dim=axis).square().mean() for axis in (2, 3, 4)), torch.zeros(()))


def make_judge(photos: Photos, most: int = 204) -> Judge:
    """Return a judge of defaders at 128 x 128 pixels.

    The score is the mean CIEDE2000 of repaired prints, plus what clean photographs (`harm`) and repaired ones
    (`second_pass`) are changed by.

    Args:
        photos: Photographs that choose (`datasets.halves`).
        most: How many of them are judged at most.
    """
    prints: dict[str, list[Tensor]] = {"repairable": [], "lighting": [], "clean": []}
    for number, photo in enumerate(list(photos)[:: -(-len(photos) // most)]):
        square = as_floats(np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
        family = FAMILIES[number % len(FAMILIES)]
        pair = age_photograph(square, family, np.random.default_rng((7, number)))
        kind = "lighting" if family == "lighting" else "repairable"
        prints[kind].append(stack_pictures([pair.print, pair.truth]))
        prints["clean"].append(stack_pictures([square, square]))

    @torch.no_grad()
    def judge(network: nn.Module) -> dict[str, float]:
        assert isinstance(network, DefadeNet)  # noqa: S101 - the loop hands back its own network
        network = make_folded_copy(network)
        repaired = {
            kind: [(repair_as_shipped(network, pair[:1]), pair[:1], pair[1:]) for pair in pairs]
            for kind, pairs in prints.items()
        }
        again = [(repair_as_shipped(network, ours), ours) for ours, _, _ in repaired["repairable"]]
        scores = {
            "faded": mean_difference((faded, truth) for _, faded, truth in repaired["repairable"]),
            "delta_e": mean_difference((ours, truth) for ours, _, truth in repaired["repairable"]),
            "lighting": mean_difference((ours, truth) for ours, _, truth in repaired["lighting"]),
            "harm": mean_difference((ours, truth) for ours, _, truth in repaired["clean"]),
            "second_pass": mean_difference(again),
        }
        return {"score": scores["delta_e"] + scores["harm"] + scores["second_pass"], **scores}

    return judge


def mean_difference(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the mean CIEDE2000 of pairs of pictures (1, 3, h, w); NaN of none."""
    differences = [delta_e_2000(one[0], two[0]) for one, two in pairs]
    return round(float(np.mean(differences)), 3) if differences else float("nan")


def repair_as_shipped(network: DefadeNet, inputs: Tensor) -> Tensor:
    """Repair (B, 3, 128, 128) as the defader does, with imperceptible repairs left out, rounded to 8 bits."""
    decision = close_gate_if_invisible(tie_channels(network(inputs), inputs), inputs)
    return round_to_8_bits(repair(decision, inputs.flatten(2), pixel_positions(SIDE, SIDE)).view_as(inputs))
