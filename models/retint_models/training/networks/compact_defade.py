"""Training of `compact-defade`: each step ages other crops at random (`datasets.fading`) and learns to undo it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from retint_models.datasets.fading import Floats, Pair, as_floats, simulate
from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import delta_e_2000
from retint_models.evaluation.prints import FAMILIES, age_photograph
from retint_models.networks.color import rgb_to_lab
from retint_models.networks.compact_defade import (
    SIDE,
    DefadeDecision,
    DefadeNet,
    close_gate_if_invisible,
    pixel_positions,
    repair,
)
from retint_models.training.loop import Judge, TrainingOptions, TrainingRun, TrainingStep

HALF_WEIGHT = ("Oldpel/flower_photos",)
"""Sources drawn half as often because they fill too much of the set: flowers are a fifth of the photographs."""


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of `compact-defade`. The field names are keys in logs and checkpoints.

    Attributes:
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

    batch: int = 16
    again: int = 4
    again_from: float = 0.5
    again_weight: float = 0.3
    rate: float = 2e-3
    decay: float = 0.02
    clean: float = 2.0
    gate: float = 0.2
    smooth: float = 0.5
    stride: int = 4


def make_run(
    folder: Path,
    photos: Photos,
    judge: Judge,
    imagenet: dict[str, Tensor],
    options: TrainingOptions,
    hyperparameters: Hyperparameters | None = None,
) -> TrainingRun:
    """Set up a run.

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
    return TrainingRun(
        folder,
        network,
        optimizer=torch.optim.AdamW(parameters, lr=chosen.rate, betas=(0.9, 0.98), weight_decay=chosen.decay),
        training_step=make_training_step(network, photos, chosen),
        judge=judge,
        options=options,
        settings={"recipe": "compact-defade", "photos": photos.identity} | asdict(chosen),
    )


def make_training_step(network: DefadeNet, photos: Photos, hyperparameters: Hyperparameters) -> TrainingStep:
    """Return the training step."""
    draw_crop = make_defade_crop_sampler(photos)

    def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        step_rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=rng)))
        again = hyperparameters.again if progress >= hyperparameters.again_from else 0
        pairs = [simulate(draw_crop(step_rng), step_rng) for _ in range(hyperparameters.batch)]
        return {"loss": compute_loss(network, pairs, again, hyperparameters, step_rng)}

    return step


def make_defade_crop_sampler(photos: Photos) -> Callable[[Generator], Floats]:
    """Return a function that draws a crop at random: float32 (128, 128, 3), sRGB in [0, 1].

    Crops are resized by Pillow, which takes boxes with fractions of pixels; torchvision's crops are whole pixels. They
    are drawn from numpy's generator, as the prints made of them are.
    """
    weights = np.array([0.5 if entry.get("source") in HALF_WEIGHT else 1.0 for entry in photos.entries])
    weights /= weights.sum()

    def draw(rng: Generator) -> Floats:
        photo = photos[rng.choice(len(photos), p=weights)]
        size = np.array(photo.shape[1::-1])
        extent = size * rng.uniform(0.6, 1) * np.array([1, rng.uniform(0.85, 1)])[:: rng.choice([1, -1])]
        start = rng.uniform(0, 1, 2) * (size - extent)
        box = (*start, *(start + extent))
        crop = np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))
        return as_floats(crop[:, :: rng.choice([1, -1])])

    return draw


def compute_loss(
    network: DefadeNet, pairs: list[Pair], again: int, hyperparameters: Hyperparameters, rng: Generator
) -> Tensor:
    """Return the loss of the network's repairs, with its own gate and with the gate fully open.

    Behind a closed gate nothing would be learned. The first `again` repairs are seen once more as if they were clean.
    """
    inputs, truth = stack_pictures([pair.print for pair in pairs]), stack_pictures([pair.truth for pair in pairs])
    inputs = round_to_8_bits(inputs)
    if again:
        repaired = repair_without_gradient(network, inputs[:again])
        inputs, truth = torch.cat([inputs, repaired]), torch.cat([truth, repaired])
    weights = [hyperparameters.clean if pair.family == "clean" else 1.0 for pair in pairs]
    weight = torch.tensor(weights + [hyperparameters.again_weight] * again)

    decision = network(inputs)
    stride = hyperparameters.stride
    rows, columns = (slice(int(rng.integers(stride)), None, stride) for _ in range(2))
    at = pixel_positions(SIDE, SIDE).view(SIDE, SIDE, 2)[rows, columns]
    before, after = inputs[..., rows, columns], truth[..., rows, columns]
    true_lab = rgb_to_lab(after)
    error = torch.zeros(len(inputs))
    for gate in (decision.gate, torch.ones_like(decision.gate)):
        ours = repair(decision._replace(gate=gate), before.flatten(2), at.flatten(0, 1)).view_as(before)
        error = error + picture_distance(ours, after, true_lab) / 2
    fading = (rgb_to_lab(before) - true_lab).norm(dim=1).mean((1, 2))
    gate_loss = F.binary_cross_entropy_with_logits(decision.gate_logit, ((fading - 1.5) / 4).clamp(0, 1), weight)
    return (
        (error * weight).mean() + hyperparameters.gate * gate_loss + hyperparameters.smooth * grid_roughness(decision)
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


@torch.no_grad()
def repair_without_gradient(network: DefadeNet, inputs: Tensor) -> Tensor:
    """Repair (B, 3, 128, 128) in evaluation mode, rounded to 8 bits."""
    network.eval()
    repaired = repair(network(inputs), inputs.flatten(2), pixel_positions(SIDE, SIDE)).view_as(inputs)
    network.train()
    return round_to_8_bits(repaired)


def grid_roughness(decision: DefadeDecision) -> Tensor:
    """Return the mean square of the differences between neighboring cells of the grid, along all three directions."""
    return sum((decision.grid.diff(dim=axis).square().mean() for axis in (2, 3, 4)), torch.zeros(()))


def make_judge(photos: Photos, most: int = 68) -> Judge:
    """Return a judge of defaders at 128 x 128 pixels.

    The score is the mean CIEDE2000 of repaired prints, plus what clean photographs (`harm`) and repaired ones
    (`second_pass`) are changed by.

    Args:
        photos: Photographs that choose (`datasets.halves`).
        most: How many of them are judged at most.
    """

    @torch.no_grad()
    def judge(network: nn.Module) -> dict[str, float]:
        assert isinstance(network, DefadeNet)  # noqa: S101 - the loop hands back its own network
        found: dict[str, list[float]] = {"faded": [], "delta_e": [], "lighting": [], "harm": [], "second_pass": []}
        for number, photo in enumerate(list(photos)[:: -(-len(photos) // most)]):
            square = as_floats(np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
            family = FAMILIES[number % len(FAMILIES)]
            pair = age_photograph(square, family, np.random.default_rng((7, number)))
            faded, truth, clean = (stack_pictures([picture]) for picture in (pair.print, pair.truth, square))
            repaired = repair_as_shipped(network, faded)
            found["lighting" if family == "lighting" else "delta_e"].append(delta_e_2000(repaired[0], truth[0]))
            found["harm"].append(delta_e_2000(repair_as_shipped(network, clean)[0], clean[0]))
            if family != "lighting":
                found["faded"].append(delta_e_2000(faded[0], truth[0]))
                found["second_pass"].append(delta_e_2000(repair_as_shipped(network, repaired)[0], repaired[0]))
        scores = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
        return {"score": scores["delta_e"] + scores["harm"] + scores["second_pass"], **scores}

    return judge


def repair_as_shipped(network: DefadeNet, inputs: Tensor) -> Tensor:
    """Repair (B, 3, 128, 128) as the defader does, with imperceptible repairs left out, rounded to 8 bits."""
    decision = close_gate_if_invisible(network(inputs), inputs)
    return round_to_8_bits(repair(decision, inputs.flatten(2), pixel_positions(SIDE, SIDE)).view_as(inputs))
