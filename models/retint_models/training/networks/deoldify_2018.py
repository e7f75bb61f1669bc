"""The recipe of `deoldify-2018` and `defade-deoldify`: growing crops, and a critic from the start.

Jason Antic, DeOldify, the schedule of 23 November 2018 (https://github.com/jantic/DeOldify, MIT), known in numbers and
written afresh: per size a short time at a tenth of the rate with the body frozen ("unshock"), then at the full rate,
then unfrozen at a twentieth; rates fall by half from size to size; the critic learns five times as fast (two time-scale
update, arXiv:1706.08500); hinge loss; feature loss. One critic's step and one of the network by turns, on different
crops.

Both tasks have one recipe: the colorizer sees the gray of a photo, the defader its gray under a false light
(`fading.lit`).

Not copied: gray made with the weights of red and blue exchanged; each step of either network moving the schedules of
both. Norms of the body are trained in all stages, at the rate of the rest. Without a trained body (`--encoder`) it is
never frozen and moves with the rest: there is nothing to keep.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import delta_e_2000, psnr
from retint_models.networks.color import rec709_chroma, rec709_luma
from retint_models.networks.critics import Critic2018
from retint_models.networks.deoldify_2018 import Generator2018
from retint_models.training.adversary import Rivals, alternate, hinge_loss
from retint_models.training.crops import crops
from retint_models.training.judging import as_sheet, judge_on, samples_of
from retint_models.training.loop import Judge, Pace, Run, Show, Step, mixed
from retint_models.training.losses import BEFORE_POOLS, FeatureLoss, Lite, Vgg, adopt
from retint_models.training.stages import Groups, Plan, Stage, freeze, groups_of

Task = Literal["deoldify-2018", "defade-deoldify"]
TAPS = BEFORE_POOLS[:3]
"""Of VGG16's maps, for the feature loss."""
REC601 = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Recipe:
    """What shapes a run besides its pace.

    Attributes:
        sizes: Sides of the crops and how many there are a step; each has the same time.
        rate: The critic's learning rate at the first size; the network's is a fifth.
        features: Weights of the feature loss.
        word: Weight of the critic's word, beside the feature loss.
        light: Largest change of light and contrast: of both pictures to colorize, of the print to defade.
        channels: Of the generator's widest maps and, a quarter as many, of the critic's first one.
        depths: Residual blocks in the four stages of the generator's body: a ResNet-34.
    """

    sizes: tuple[tuple[int, int], ...] = ((64, 128), (96, 64), (128, 32), (160, 20), (192, 12), (224, 8), (256, 6))
    rate: float = 5e-4
    features: tuple[float, ...] = (20.0, 70.0, 10.0)
    word: float = 1.0
    light: float = 0.1
    channels: int = 1024
    depths: tuple[int, ...] = (3, 4, 6, 3)


def recipe_of(task: Task, largest: int | None = None, batch: int | None = None) -> Recipe:
    """Return the recipe of a task, with crops up to a size and so many a step only, if that is given."""
    recipe = Recipe(light=0.1 if task == "deoldify-2018" else 0.5)
    sizes = tuple((side, min(count, batch or count)) for side, count in recipe.sizes if side <= (largest or 256))
    return replace(recipe, sizes=sizes)


@dataclass(frozen=True)
class Given:
    """What a run is given that others trained.

    Attributes:
        encoder: A ResNet-34 (`losses.resnet`); empty to start from nothing.
        backbone: For the feature loss (`losses.backbone`); None to compare pixels only.
    """

    encoder: Mapping[str, Tensor]
    backbone: Vgg | Lite | None

    @property
    def settings(self) -> dict[str, str | bool]:
        """What to note of it."""
        return {"pretrained": bool(self.encoder), "backbone": type(self.backbone).__name__}


def start(
    task: Task,
    folder: Path,
    photos: Photos,
    held_back: Photos,
    pace: Pace,
    given: Given,
    recipe: Recipe | None = None,
    device: str = "cpu",
) -> Run:
    """Set up a run of one of the tasks. Weights are not averaged and gradients not clipped, as in the original."""
    recipe = recipe or recipe_of(task)
    torch.manual_seed(pace.seed)
    network = Generator2018(recipe.channels, recipe.depths)
    adopt(network.rn, given.encoder)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rivals = Rivals(Critic2018(recipe.channels // 4)).to(device)
    groups = [*groups_of(network, network.rn), list(rivals.parameters())]
    plan = planned(recipe, bool(given.encoder))
    optimizer = torch.optim.AdamW([{"params": group} for group in groups], betas=(0.0, 0.9), weight_decay=1e-7)
    settings = {"recipe": task, "photos": photos.identity} | given.settings | asdict(recipe)
    judge, show = judging(task, held_back)
    pace = replace(pace, average=0.0, clip=0.0)
    features = FeatureLoss(given.backbone, recipe.features).to(device)
    step = Stepper(task, network, rivals, photos, plan, groups, features, recipe).step()
    return Run(folder, network, optimizer, step, judge, pace, settings, {"rivals": rivals}, plan.rates, show)


def planned(recipe: Recipe, is_pretrained: bool) -> Plan:
    """Return the stages: rates of the body's first part, its last, the rest, and the critic."""
    stages = []
    for number, (side, batch) in enumerate(recipe.sizes):
        rate = recipe.rate / 2**number
        for share, part, frozen in ((0.1, 0.1, True), (0.5, 1.0, True), (0.4, 0.05, False)):
            top = part * rate / 5
            if not is_pretrained:
                body = (part * rate / 5, part * rate / 5)
            else:
                body = (0.0, 0.0) if frozen else (top / 100, top / 10)
            stages.append(Stage(share, side, batch, (*body, top, part * rate), "flat"))
    return Plan(stages)


@dataclass(frozen=True)
class Stepper:
    """Makes the step of a run."""

    task: Task
    network: nn.Module
    rivals: Rivals
    photos: Photos
    plan: Plan
    groups: Groups
    features: FeatureLoss
    recipe: Recipe

    def step(self) -> Step:
        """Return the recipe's step."""
        device = next(self.network.parameters()).device
        draw = crops(self.photos, device)

        def repaired(progress: float, chance: torch.Generator) -> tuple[Tensor, Tensor]:
            stage, _ = self.plan.at(progress)
            freeze(self.groups[:3], stage.rates)
            seen, truth = pair_of(self.task, draw(stage.batch, stage.side, chance), self.recipe.light, chance)
            with mixed(device):
                made = self.network(2 * seen - 1)
            return made.float(), 2 * truth - 1

        def of_critic(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
            with torch.no_grad():
                made, truth = repaired(progress, chance)
            with mixed(device):
                loss = hinge_loss(self.rivals.critic(truth)[0], self.rivals.critic(made)[0])
            return {"loss": loss, "critic": loss}

        def of_network(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
            made, truth = repaired(progress, chance)
            with mixed(device):
                scores = self.rivals.critic(made)[0]
                features = self.features((made + 1) / 2, (truth + 1) / 2, scale=2.0)
            deceived = -scores.float().mean()
            return {"loss": features + self.recipe.word * deceived, "features": features, "deceived": deceived}

        return alternate(self.rivals, of_critic, of_network)


def pair_of(task: Task, rgb: Tensor, light: float, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return what the network is shown and what it should make of it, (B, 3, h, w) in [0, 1]."""
    lit = relit(rgb if task == "deoldify-2018" else gray_of(rgb), light, chance)
    return (gray_of(lit), lit) if task == "deoldify-2018" else (lit, gray_of(rgb))


def relit(rgb: Tensor, light: float, chance: torch.Generator) -> Tensor:
    """Change brightness and contrast at random, as `fading.lit` does: (B, 3, h, w) in [0, 1]."""
    brightness, contrast = light * (2 * torch.rand(2, len(rgb), 1, 1, 1, generator=chance).to(rgb.device) - 1)
    factor = torch.where(contrast < 0, 1 / (1 - contrast), 1 + contrast)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    moved: Tensor = (rgb - mean) * factor + mean + brightness
    return moved.clamp(0, 1)


def gray_of(rgb: Tensor) -> Tensor:
    """Return Rec. 601 luma in all three channels."""
    luma = (rgb * torch.tensor(REC601, device=rgb.device).view(3, 1, 1)).sum(1, keepdim=True)
    return luma.clamp(0, 1).expand(-1, 3, -1, -1)


def judging(task: Task, held_back: Photos) -> tuple[Judge, Show]:
    """Return how a task is judged and shown."""
    if task == "deoldify-2018":
        return judge_on(held_back, decide), samples_of(held_back, decide)
    return judge_prints(held_back), prints_of(held_back)


def decide(network: nn.Module, luma: Tensor) -> Tensor:
    """Let a network decide chroma."""
    made: Tensor = network(2 * luma.clamp(0, 1).expand(-1, 3, -1, -1) - 1)
    return rec709_chroma((made + 1) / 2)


def prints(photos: Photos, side: int) -> list[tuple[Tensor, Tensor]]:
    """Return gray photographs under a false light, and as they were: (1, 3, side, side) each; the same every time."""
    pairs = []
    chance = torch.Generator().manual_seed(7)
    for photo in photos:
        square = np.array(Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR))
        rgb = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
        pairs.append(pair_of("defade-deoldify", rgb, 0.5, chance))
    return pairs


def judge_prints(photos: Photos, side: int = 128) -> Judge:
    """Return a judge: mean CIEDE2000 of repaired prints, beside that of the prints."""
    pairs = prints(photos, side)

    def judge(network: nn.Module) -> dict[str, float]:
        made = [repaired_by(network, seen) for seen, _ in pairs]
        error = [delta_e_2000(ours[0], truth[0]) for ours, (_, truth) in zip(made, pairs, strict=True)]
        faded = [delta_e_2000(seen[0], truth[0]) for seen, truth in pairs]
        noise = [psnr(ours[0], truth[0]) for ours, (_, truth) in zip(made, pairs, strict=True)]
        return {"score": float(np.mean(error)), "faded": float(np.mean(faded)), "psnr": float(np.mean(noise))}

    return judge


def prints_of(photos: Photos, count: int = 12) -> Show:
    """Return what draws a sheet: prints, what the network makes of them, the photographs."""
    pairs = prints(photos, 128)[:: max(1, len(photos) // count)][:count]
    return lambda network: as_sheet(torch.cat([torch.cat([s, repaired_by(network, s), t], 3) for s, t in pairs], 2))


def repaired_by(network: nn.Module, seen: Tensor) -> Tensor:
    """Let a network repair a gray print, (1, 3, h, w); only its luma counts."""
    device = next(network.parameters()).device
    made: Tensor = network(2 * seen.to(device) - 1)
    luma: Tensor = rec709_luma((made.float().cpu() + 1) / 2).clamp(0, 1)
    return luma.expand(-1, 3, -1, -1)
