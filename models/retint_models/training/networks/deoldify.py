"""The recipe of `deoldify` (`artistic`, `stable`, `video`): NoGAN, in three steps that may be repeated.

Jason Antic, DeOldify (https://github.com/jantic/DeOldify, MIT), known in numbers and written afresh:

1. `generator`: the generator alone, with the feature loss, on crops that grow from 64 to 192 pixels.
2. `critic`: the critic alone, which learns to tell photographs from pictures that the generator made.
3. `gan`: both, for a short time. The generator moves only when the critic's loss has fallen below .65, its body
   frozen. Colors come in the first few hundred steps; past an inflection point skin turns orange. So weights are kept
   every so many steps (`steps/`), each judged, and the best by photographs held back goes on.

Repeated are steps 2 and 3 (`critic-2`, `gan-2`, ...). Each step is a run in a folder of its own, which can be stopped
and resumed; what is finished is not done again.

Other than the original: crops are stretched and mirrored, not rotated or warped; momentum does not cycle. Without a
trained body (`--encoder`) it moves with the rest: there is nothing to keep.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from retint_models.datasets.photographs import Photos
from retint_models.networks.color import rec709_chroma
from retint_models.networks.critics import DeoldifyCritic
from retint_models.networks.deoldify import CONFIGS, MEAN, STD, DeoldifyGenerator, GeneratorConfig
from retint_models.training.adversary import Rivals, alternate, logits_loss, towards
from retint_models.training.crops import Draw, crops
from retint_models.training.judging import judge_on, samples_of
from retint_models.training.loop import Pace, Rates, Run, Step, is_finished, mixed, tensors_of
from retint_models.training.losses import BEFORE_POOLS, FeatureLoss, adopt
from retint_models.training.networks.deoldify_2018 import Given, gray_of
from retint_models.training.stages import Groups, Plan, Stage, freeze, groups_of

Name = Literal["artistic", "stable", "video"]
TAPS = BEFORE_POOLS[2:]
"""Of VGG16's maps, for the feature loss."""
SHARES = {"generator": 0.7, "critic": 0.15, "gan": 0.15}
"""Of the minutes; what is repeated shares its part."""


@dataclass(frozen=True)
class Recipe:
    """What shapes a training besides its pace.

    Attributes:
        stages: Of the generator alone: its share of the step, side and count of the crops, rates of the body's first
            part, its last, and the rest; whether the rate first rises (one cycle).
        noise: Share of the photographs that get film's noise.
        features: Weights of the feature loss.
        critic_batch: Crops a step of the critic alone.
        critic_rates: Its largest learning rate the first time, when it starts from nothing, and when it is repeated.
        gan_batch, gan_rate: Of both: crops a step, the generator's learning rate; the critic's is five times that.
        side: Of the crops for critic and GAN.
        weights: Of the critic's word and of the feature loss.
        threshold: The critic's loss below which the generator moves.
        keep_every: Steps of the GAN between weights that are kept.
        repeats: How often critic and GAN follow each other.
        pictures: How many the generator makes at most for the critic to learn from; one a photograph.
        channels: Of the critic's first map.
        config: The generator's shape; that of its name if None.
    """

    stages: tuple[tuple[float, int, int, tuple[float, float, float], bool], ...] = (
        (0.10, 64, 88, (0.0, 0.0, 1e-3), True),
        (0.15, 64, 88, (3e-7, 1e-5, 3e-4), False),
        (0.30, 128, 22, (1e-7, 3e-6, 1e-4), False),
        (0.45, 192, 11, (5e-8, 1.6e-6, 5e-5), False),
    )
    noise: float = 0.0
    features: tuple[float, ...] = (20.0, 70.0, 10.0)
    critic_batch: int = 16
    critic_rates: tuple[float, float] = (1e-3, 1e-4)
    gan_batch: int = 9
    gan_rate: float = 1e-5
    side: int = 192
    weights: tuple[float, float] = (1.0, 2.0)
    threshold: float = 0.65
    keep_every: int = 100
    repeats: int = 5
    pictures: int = 2000
    channels: int = 256
    config: GeneratorConfig | None = None


ARTISTIC = Recipe()
STABLE = replace(
    ARTISTIC,
    stages=(
        *ARTISTIC.stages[:2],
        (0.30, 128, 20, (1e-7, 3e-6, 1e-4), False),
        (0.45, 192, 8, (5e-8, 1.6e-6, 5e-5), False),
    ),
    gan_batch=5,
    gan_rate=2e-5,
    weights=(1.0, 1.5),
    repeats=3,
)
VIDEO = replace(STABLE, stages=((1.0, 192, 8, (5e-8, 1.6e-6, 5e-5), False),), noise=0.8, gan_rate=5e-6, repeats=1)
RECIPES: dict[Name, Recipe] = {"artistic": ARTISTIC, "stable": STABLE, "video": VIDEO}


def recipe_of(name: Name, largest: int | None = None, repeats: int | None = None, batch: int | None = None) -> Recipe:
    """Return the recipe of a generator.

    Args:
        name: Of the generator.
        largest: Crops beyond this side are left out.
        repeats: How often critic and GAN follow each other.
        batch: Most crops a step.

    Raises:
        ValueError: no crops are left.
    """
    recipe = RECIPES[name]
    side = largest or recipe.side
    most = batch or max(stage[2] for stage in recipe.stages)
    stages = tuple((stage[0], stage[1], min(stage[2], most), *stage[3:]) for stage in recipe.stages if stage[1] <= side)
    if not stages:
        raise ValueError(f"{name} is trained on crops of {recipe.side} pixels, which --largest leaves out")
    return replace(
        recipe,
        stages=stages,
        side=min(side, recipe.side),
        critic_batch=min(recipe.critic_batch, most),
        gan_batch=min(recipe.gan_batch, most),
        repeats=repeats or recipe.repeats,
    )


@dataclass(frozen=True)
class Training:
    """What all steps share.

    Attributes:
        start_from: A generator's weights to go on from, such as `stable`'s for `video`; None to start from the encoder.
    """

    name: Name
    folder: Path
    photos: Photos
    held_back: Photos
    pace: Pace
    given: Given
    recipe: Recipe
    device: str = "cpu"
    start_from: dict[str, Tensor] | None = None

    def runs(self) -> Iterator[Run]:
        """Make the steps that are not finished, one after the other, each when the one before it is done."""
        made, critic = self.folder / "generator", None
        if not is_finished(made):
            yield self.generator()
        for number in range(1, self.recipe.repeats + 1):
            ending = f"-{number}" if number > 1 else ""
            before, critic = critic, self.folder / f"critic{ending}"
            if not is_finished(critic):
                yield self.critic(critic, made, before)
            before, made = made, self.folder / f"gan{ending}"
            if not is_finished(made):
                yield self.gan(made, before, critic)

    def paced(self, step: str, count: int, keep_every: int | None = None) -> Pace:
        """Return the pace of one of `count` steps of a kind; no averages, no clipping, as in the original."""
        share = SHARES[step] / count
        steps = None if self.pace.steps is None else max(1, round(share * self.pace.steps))
        minutes = share * self.pace.minutes
        return replace(self.pace, minutes=minutes, steps=steps, keep_every=keep_every, average=0.0, clip=0.0)

    def settings(self, step: str) -> dict[str, object]:
        """Return what shapes a step."""
        known = {"recipe": f"deoldify {self.name}", "step": step, "photos": self.photos.identity}
        return known | self.given.settings | {"started_from": self.start_from is not None} | asdict(self.recipe)

    def network(self) -> DeoldifyGenerator:
        """Make the generator, its body as it was given."""
        torch.manual_seed(self.pace.seed)
        network = DeoldifyGenerator(self.recipe.config or CONFIGS[self.name])
        adopt(network.layers["0"], self.given.encoder)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def generator(self) -> Run:
        """Set up step 1."""
        network = self.network()
        if self.start_from is not None:
            network.load_state_dict(self.start_from)
        groups = groups_of(network, network.layers["0"])
        plan = self.planned()
        optimizer = torch.optim.AdamW([{"params": group} for group in groups], betas=(0.9, 0.99), weight_decay=1e-3)
        step = self.generator_step(network, plan, groups)
        return self.run(
            "generator", self.folder / "generator", network, optimizer, step, self.paced("generator", 1), plan.rates
        )

    def planned(self) -> Plan:
        """Return the stages of step 1."""
        has_body = bool(self.given.encoder) or self.start_from is not None
        stages = []
        for share, side, batch, rates, rises in self.recipe.stages:
            moved = rates if has_body else (rates[2], rates[2], rates[2])
            stages.append(Stage(share, side, batch, moved, "cycle" if rises else "cosine"))
        return Plan(stages)

    def generator_step(self, network: nn.Module, plan: Plan, groups: Groups) -> Step:
        """Return the step of the generator alone."""
        draw, compare = self.draw(), self.comparison()

        def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
            stage, _ = plan.at(progress)
            freeze(groups, stage.rates)
            truth = draw(stage.batch, stage.side, chance)
            seen = noisy(truth, self.recipe.noise, chance)
            return {"loss": compare(made_by(network, seen), truth)}

        return step

    def critic(self, folder: Path, made: Path, before: Path | None) -> Run:
        """Set up step 2: the critic alone, on pictures that the generator of a finished run makes now."""
        torch.manual_seed(self.pace.seed)
        network = DeoldifyCritic(self.recipe.channels).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        first, again = self.recipe.critic_rates
        if before is not None:
            network.load_state_dict(tensors_of(before))
        rate = first if before is None else again
        optimizer = torch.optim.AdamW(network.parameters(), rate, (0.9, 0.99), weight_decay=1e-3)
        generator = self.network()
        generator.load_state_dict(tensors_of(made))
        draw = self.draw()
        count = min(self.recipe.pictures, len(self.photos))
        false = Pictures(generator.eval(), draw, count, self.recipe)
        real, test = draw, torch.Generator().manual_seed(self.pace.seed)
        held_back = crops(self.held_back, torch.device(self.device))

        def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
            half = max(1, self.recipe.critic_batch // 2)
            with mixed(torch.device(self.device)):
                loss = logits_loss(network, normalised(real(half, self.recipe.side, chance)), false.draw(half, chance))
            return {"loss": loss}

        def judge(critic: nn.Module) -> dict[str, float]:
            test.manual_seed(self.pace.seed)
            truth = held_back(8, self.recipe.side, test)
            made = made_by(generator, truth)
            right = (critic(normalised(truth)) > 0).float().mean() + (critic(made) < 0).float().mean()
            return {"score": float(logits_loss(critic, normalised(truth), made)), "right": float(right / 2)}

        pace = self.paced("critic", self.recipe.repeats)
        return Run(folder, network, optimizer, step, judge, pace, self.settings("critic"))

    def gan(self, folder: Path, made: Path, critic: Path) -> Run:
        """Set up step 3, from the weights of two finished runs."""
        network = self.network()
        network.load_state_dict(tensors_of(made))
        rivals = Rivals(DeoldifyCritic(self.recipe.channels), self.recipe.threshold).to(self.device)
        rivals.critic.load_state_dict(tensors_of(critic))
        groups = groups_of(network, network.layers["0"])
        freeze(groups, (0.0, 0.0, 1.0))
        parameters = [{"params": groups[2]}, {"params": list(rivals.parameters())}]
        optimizer = torch.optim.AdamW(parameters, betas=(0.0, 0.9), weight_decay=1e-3)
        rates = [self.recipe.gan_rate, 5 * self.recipe.gan_rate]
        pace = self.paced("gan", self.recipe.repeats, self.recipe.keep_every)
        run = self.run("gan", folder, network, optimizer, self.gan_step(network, rivals), pace, lambda _: rates)
        run.beside["rivals"] = rivals
        return run

    def gan_step(self, network: nn.Module, rivals: Rivals) -> Step:
        """Return the step of both."""
        draw, compare = self.draw(), self.comparison()
        device = torch.device(self.device)

        def of_critic(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
            truth = draw(self.recipe.gan_batch, self.recipe.side, chance)
            with torch.no_grad():
                made = made_by(network, noisy(truth, self.recipe.noise, chance))
            with mixed(device):
                loss = logits_loss(rivals.critic, normalised(truth), made)
            return {"loss": loss, "critic": loss}

        def of_network(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
            truth = draw(self.recipe.gan_batch, self.recipe.side, chance)
            made = made_by(network, noisy(truth, self.recipe.noise, chance))
            with mixed(device):
                deceived = towards(rivals.critic(made), 1.0)
            features = compare(made, truth)
            of_word, of_features = self.recipe.weights
            return {"loss": of_word * deceived + of_features * features, "deceived": deceived, "features": features}

        return alternate(rivals, of_critic, of_network)

    def draw(self) -> Draw:
        """Return what draws crops to train on."""
        return crops(self.photos, torch.device(self.device))

    def comparison(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of what a generator made, normalised, against sRGB."""
        loss = FeatureLoss(self.given.backbone, self.recipe.features).to(self.device)

        def compare(made: Tensor, truth: Tensor) -> Tensor:
            with mixed(torch.device(self.device)):
                return loss(restored(made), truth, scale=1 / STD[1])  # type: ignore[no-any-return]

        return compare

    def run(
        self,
        step_name: str,
        folder: Path,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        step: Step,
        pace: Pace,
        rates: Rates,
    ) -> Run:
        """Set up a step that trains the generator."""
        judge, show = judge_on(self.held_back, decide), samples_of(self.held_back, decide)
        return Run(folder, network, optimizer, step, judge, pace, self.settings(step_name), rates=rates, show=show)


class Pictures:
    """What a generator makes of crops, made once, kept in memory, and drawn from."""

    def __init__(self, generator: nn.Module, draw: Draw, count: int, recipe: Recipe) -> None:
        chance = torch.Generator().manual_seed(0)
        made = []
        for done in range(0, count, 8):
            crop = draw(min(8, count - done), recipe.side, chance)
            with torch.no_grad():
                made.append(made_by(generator, noisy(crop, recipe.noise, chance)).half().cpu())
        self.made, self.device = torch.cat(made), next(generator.parameters()).device

    def draw(self, count: int, chance: torch.Generator) -> Tensor:
        """Return some, normalised: (count, 3, side, side)."""
        drawn = torch.randint(len(self.made), (count,), generator=chance)
        return self.made[drawn].to(self.device).float()


def made_by(network: nn.Module, rgb: Tensor) -> Tensor:
    """Return what a generator makes of the gray of sRGB (B, 3, h, w), normalised."""
    with mixed(rgb.device):
        made: Tensor = network(normalised(gray_of(rgb)))
    return made.float()


def normalised(rgb: Tensor) -> Tensor:
    """Normalise sRGB (B, 3, h, w) by ImageNet's mean and deviation."""
    mean, std = (torch.tensor(values, device=rgb.device).view(3, 1, 1) for values in (MEAN, STD))
    return (rgb - mean) / std


def restored(made: Tensor) -> Tensor:
    """Return sRGB of what is normalised; it may leave [0, 1]."""
    mean, std = (torch.tensor(values, device=made.device).view(3, 1, 1) for values in (MEAN, STD))
    return made * std + mean


def noisy(rgb: Tensor, share: float, chance: torch.Generator) -> Tensor:
    """Give a share of the pictures (B, 3, h, w) film's noise: up to 40 % of the pixels move by up to 30 of 255."""
    if not share:
        return rgb
    count, _, height, width = rgb.shape
    is_hit = torch.rand(count, 1, 1, 1, generator=chance) < share
    density = 0.001 + 0.399 * torch.rand(count, 1, 1, 1, generator=chance)
    moved = torch.rand(count, 1, height, width, generator=chance) < density
    offset = torch.randint(-30, 30, (count, 1, height, width), generator=chance) / 255
    return (rgb + (offset * (moved & is_hit)).to(rgb.device)).clamp(0, 1)


def decide(network: nn.Module, luma: Tensor) -> Tensor:
    """Let a generator decide chroma."""
    return rec709_chroma(restored(network(normalised(luma.clamp(0, 1).expand(-1, 3, -1, -1)))).clamp(0, 1))
