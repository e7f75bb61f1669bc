"""Training of `deoldify-2018` and `defade-deoldify`: growing crops, and a critic from the start.

Jason Antic, DeOldify, the schedule of 23 November 2018 (https://github.com/jantic/DeOldify, MIT), known in numbers and
written afresh. At each size of crops there are three phases: a short one at a tenth of the learning rate with the
ResNet frozen, one at the full rate, and one with the ResNet unfrozen at a twentieth. Rates are halved from size to
size; the critic's is five times the network's (two time-scale update rule, arXiv:1706.08500). Hinge loss and feature
loss. Critic and network take turns, on different crops.

Both tasks share these hyperparameters: the colorizer sees the gray of a photo, the defader sees its gray under a false
light (`change_lighting`).

Not copied: gray made with the weights of red and blue exchanged; each step of either network moving the schedules of
both. The ResNet's batch norms are trained in all phases, at the rate of the rest. Without a trained ResNet
(`--encoder`) it is never frozen and has the rate of the rest.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import delta_e_2000, psnr
from retint_models.evaluation.pictures import to_pixels
from retint_models.networks.color import rec709_chroma, rec709_luma
from retint_models.networks.critics import Critic2018
from retint_models.networks.deoldify_2018 import Generator2018
from retint_models.training.adversary import Adversary, alternate_steps, critic_hinge_loss
from retint_models.training.crops import make_crop_sampler
from retint_models.training.judging import make_colorizer_judge, make_sample_drawer
from retint_models.training.loop import DrawSamples, Judge, TrainingOptions, TrainingRun, TrainingStep
from retint_models.training.losses import LAYERS_BEFORE_POOLS, FeatureLoss
from retint_models.training.precision import autocast, device_of
from retint_models.training.pretrained import Pretrained, load_encoder
from retint_models.training.schedule import (
    ParameterGroups,
    Phase,
    PhaseSchedule,
    freeze_idle_groups,
    split_parameters,
)

Task = Literal["deoldify-2018", "defade-deoldify"]
FEATURE_LAYERS = LAYERS_BEFORE_POOLS[:3]
"""Layers of VGG16 used by the feature loss."""
REC601 = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of both tasks. The field names are keys in logs and checkpoints.

    Attributes:
        sizes: Sides of the crops and crops a step; each size has the same share of the run.
        rate: Learning rate of the critic at the first size; the network's is a fifth.
        features: Weights of the features in the feature loss.
        word: Weight of the adversarial loss, relative to the feature loss.
        light: Largest change of brightness and contrast: of both pictures to colorize, of the print to defade.
        channels: Channels of the generator's widest maps and, divided by four, of the critic's first map.
        depths: Residual blocks in the four stages of the generator's ResNet-34.
    """

    sizes: tuple[tuple[int, int], ...] = ((64, 128), (96, 64), (128, 32), (160, 20), (192, 12), (224, 8), (256, 6))
    rate: float = 5e-4
    features: tuple[float, ...] = (20.0, 70.0, 10.0)
    word: float = 1.0
    light: float = 0.1
    channels: int = 1024
    depths: tuple[int, ...] = (3, 4, 6, 3)


def choose_hyperparameters(task: Task, largest: int | None = None, batch: int | None = None) -> Hyperparameters:
    """Return the hyperparameters of a task.

    Args:
        task: Colorizer or defader.
        largest: Crops with a larger side are left out.
        batch: Most crops a step.
    """
    default = Hyperparameters(light=0.1 if task == "deoldify-2018" else 0.5)
    sizes = tuple((side, min(count, batch or count)) for side, count in default.sizes if side <= (largest or 256))
    return replace(default, sizes=sizes)


def make_run(
    task: Task,
    folder: Path,
    photos: Photos,
    held_back: Photos,
    options: TrainingOptions,
    pretrained: Pretrained,
    hyperparameters: Hyperparameters | None = None,
    device: str = "cpu",
) -> TrainingRun:
    """Set up a run of a task. As in the original, weights are not averaged and gradients not clipped."""
    chosen = hyperparameters or choose_hyperparameters(task)
    torch.manual_seed(options.seed)
    network = Generator2018(chosen.channels, chosen.depths)
    load_encoder(network.rn, pretrained.encoder)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adversary = Adversary(Critic2018(chosen.channels // 4)).to(device)
    groups = [*split_parameters(network, network.rn), list(adversary.parameters())]
    schedule = make_schedule(chosen, bool(pretrained.encoder))
    features = FeatureLoss(pretrained.backbone, chosen.features).to(device)
    judge, draw_samples = make_judge_and_drawer(task, held_back)
    return TrainingRun(
        folder,
        network,
        optimizer=torch.optim.AdamW([{"params": group} for group in groups], betas=(0.0, 0.9), weight_decay=1e-7),
        training_step=make_training_step(task, network, adversary, photos, schedule, groups, features, chosen),
        judge=judge,
        options=replace(options, average=0.0, clip=0.0),
        settings={"recipe": task, "photos": photos.identity} | pretrained.settings | asdict(chosen),
        extra_modules={"rivals": adversary},
        learning_rates=schedule.learning_rates,
        draw_samples=draw_samples,
    )


def make_schedule(hyperparameters: Hyperparameters, is_pretrained: bool) -> PhaseSchedule:
    """Return the phases. Their rates are those of the ResNet's first part, its last part, the rest, and the critic."""
    phases = []
    for number, (side, batch) in enumerate(hyperparameters.sizes):
        full_rate = hyperparameters.rate / 2**number
        for share, factor, is_frozen in ((0.1, 0.1, True), (0.5, 1.0, True), (0.4, 0.05, False)):
            rate = factor * full_rate / 5
            resnet_rates = (0.0, 0.0) if is_frozen else (rate / 100, rate / 10)
            if not is_pretrained:
                resnet_rates = (rate, rate)
            phases.append(Phase(share, side, batch, (*resnet_rates, rate, factor * full_rate), "flat"))
    return PhaseSchedule(phases)


def make_training_step(
    task: Task,
    network: nn.Module,
    adversary: Adversary,
    photos: Photos,
    schedule: PhaseSchedule,
    groups: ParameterGroups,
    features: FeatureLoss,
    hyperparameters: Hyperparameters,
) -> TrainingStep:
    """Return the training step of the network and its critic."""
    device = device_of(network)
    draw_crops = make_crop_sampler(photos, device)

    def generate(progress: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        phase, _ = schedule.phase_at(progress)
        freeze_idle_groups(groups[:3], phase.rates)
        crops = draw_crops(phase.batch, phase.side, rng)
        inputs, truth = make_pair(task, crops, hyperparameters.light, rng)
        with autocast(device):
            generated = network(2 * inputs - 1)
        return generated.float(), 2 * truth - 1

    def critic_step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            generated, truth = generate(progress, rng)
        with autocast(device):
            loss = critic_hinge_loss(adversary.critic(truth)[0], adversary.critic(generated)[0])
        return {"loss": loss, "critic": loss}

    def network_step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        generated, truth = generate(progress, rng)
        with autocast(device):
            scores = adversary.critic(generated)[0]
            feature_loss = features((generated + 1) / 2, (truth + 1) / 2, scale=2.0)
        adversarial = -scores.float().mean()
        loss = feature_loss + hyperparameters.word * adversarial
        return {"loss": loss, "features": feature_loss, "deceived": adversarial}

    return alternate_steps(adversary, critic_step, network_step)


def make_pair(task: Task, rgb: Tensor, light: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return what the network sees and what it should make of it, (B, 3, h, w) in [0, 1]."""
    lit = change_lighting(rgb if task == "deoldify-2018" else to_rec601_gray(rgb), light, rng)
    return (to_rec601_gray(lit), lit) if task == "deoldify-2018" else (lit, to_rec601_gray(rgb))


def change_lighting(rgb: Tensor, light: float, rng: torch.Generator) -> Tensor:
    """Change brightness and contrast of pictures (B, 3, h, w) in [0, 1] at random, each by up to `light`.

    It is fastai 0.7's `RandomLighting`, as `datasets.fading` has it for arrays: brightness is added, contrast moves
    pixels away from the mean of all channels. torchvision's adjustments multiply, and draw from the global random state
    (see `crops`).
    """
    brightness, contrast = light * (2 * torch.rand(2, len(rgb), 1, 1, 1, generator=rng).to(rgb.device) - 1)
    factor = torch.where(contrast < 0, 1 / (1 - contrast), 1 + contrast)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    lit: Tensor = (rgb - mean) * factor + mean + brightness
    return lit.clamp(0, 1)


def to_rec601_gray(rgb: Tensor) -> Tensor:
    """Return Rec. 601 luma in all three channels, (B, 3, h, w) in [0, 1]."""
    luma = (rgb * torch.tensor(REC601, device=rgb.device).view(3, 1, 1)).sum(1, keepdim=True)
    return luma.clamp(0, 1).expand(-1, 3, -1, -1)


def make_judge_and_drawer(task: Task, held_back: Photos) -> tuple[Judge, DrawSamples]:
    """Return how a task is judged and what its contact sheets show."""
    if task == "deoldify-2018":
        return make_colorizer_judge(held_back, decide_chroma), make_sample_drawer(held_back, decide_chroma)
    return make_lighting_judge(held_back), make_lighting_drawer(held_back)


def decide_chroma(network: nn.Module, luma: Tensor) -> Tensor:
    """Run a network on luma (B, 1, h, w) and return its Cb and Cr."""
    generated: Tensor = network(2 * luma.clamp(0, 1).expand(-1, 3, -1, -1) - 1)
    return rec709_chroma((generated + 1) / 2)


def make_lighting_pairs(photos: Photos, side: int) -> list[tuple[Tensor, Tensor]]:
    """Return gray photographs under a false light and as they were, (1, 3, side, side) each; always the same."""
    pairs = []
    rng = torch.Generator().manual_seed(7)
    for photo in photos:
        square = np.array(Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR))
        rgb = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
        pairs.append(make_pair("defade-deoldify", rgb, 0.5, rng))
    return pairs


def make_lighting_judge(photos: Photos, side: int = 128) -> Judge:
    """Return a judge whose score is the mean CIEDE2000 of repaired photographs; `faded` is that before the repair."""
    pairs = make_lighting_pairs(photos, side)

    def judge(network: nn.Module) -> dict[str, float]:
        repairs = [repair_gray(network, faded) for faded, _ in pairs]
        error = [delta_e_2000(repair[0], truth[0]) for repair, (_, truth) in zip(repairs, pairs, strict=True)]
        error_before = [delta_e_2000(faded[0], truth[0]) for faded, truth in pairs]
        ratio = [psnr(repair[0], truth[0]) for repair, (_, truth) in zip(repairs, pairs, strict=True)]
        return {"score": float(np.mean(error)), "faded": float(np.mean(error_before)), "psnr": float(np.mean(ratio))}

    return judge


def make_lighting_drawer(photos: Photos, count: int = 12) -> DrawSamples:
    """Return a function that draws a contact sheet; its rows are a print, the network's repair and the photo."""
    pairs = make_lighting_pairs(photos, 128)[:: max(1, len(photos) // count)][:count]

    def draw(network: nn.Module) -> NDArray[np.uint8]:
        rows = [torch.cat([faded, repair_gray(network, faded), truth], 3) for faded, truth in pairs]
        return to_pixels(torch.cat(rows, 2)[0])

    return draw


def repair_gray(network: nn.Module, faded: Tensor) -> Tensor:
    """Repair a gray print (1, 3, h, w) in [0, 1] on the network's device; only the luma of the output is used."""
    generated: Tensor = network(2 * faded.to(device_of(network)) - 1)
    luma: Tensor = rec709_luma((generated.float().cpu() + 1) / 2).clamp(0, 1)
    return luma.expand(-1, 3, -1, -1)
