"""Training of `artistic`, `stable` and `video`: NoGAN, in three steps of which the last two may be repeated.

Jason Antic, DeOldify (https://github.com/jantic/DeOldify, MIT), known in numbers and written afresh:

1. `generator`: the generator alone, with the feature loss, on crops that grow from 64 to 192 pixels.
2. `critic`: the critic alone, which learns to tell photographs from pictures that the generator made.
3. `gan`: both, for a short time. The generator is trained only when the critic's loss has fallen below .65; its ResNet
   is frozen. Colors come in the first few hundred steps; past an inflection point skin turns orange. So weights are
   kept every so many steps (`steps/`), each judged, and the best by photographs held back are used from then on.

Steps 2 and 3 may be repeated (`critic-2`, `gan-2`, ...). Each step is a run in a folder of its own, which can be
stopped and resumed; a finished step is not done again.

Different from the original: crops are stretched and mirrored, not rotated or warped; momentum does not cycle. Without a
trained ResNet (`--encoder`) it has the learning rate of the rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from retint_models.datasets.photographs import Photos
from retint_models.networks.color import IMAGENET_STD
from retint_models.networks.critics import DeoldifyCritic
from retint_models.networks.deoldify import CONFIGS, DeoldifyGenerator
from retint_models.training.adversary import Adversary, alternate_steps, critic_cross_entropy, cross_entropy
from retint_models.training.crops import DrawCrops, make_crop_sampler
from retint_models.training.judging import make_colorizer_judge, make_sample_drawer
from retint_models.training.loop import Judge, LearningRates, TrainingOptions, TrainingRun, TrainingStep
from retint_models.training.losses import LAYERS_BEFORE_POOLS, FeatureLoss
from retint_models.training.networks.deoldify_hyperparameters import Hyperparameters, Name
from retint_models.training.networks.deoldify_pictures import (
    GeneratedPictures,
    add_film_noise,
    decide_chroma,
    denormalise,
    generate,
    normalise,
)
from retint_models.training.precision import autocast
from retint_models.training.pretrained import Pretrained, load_encoder
from retint_models.training.run_files import is_finished, read_best_weights
from retint_models.training.schedule import (
    ParameterGroups,
    Phase,
    PhaseSchedule,
    freeze_idle_groups,
    split_parameters,
)

FEATURE_LAYERS = LAYERS_BEFORE_POOLS[2:]
"""Layers of VGG16 used by the feature loss."""
SHARES = {"generator": 0.7, "critic": 0.15, "gan": 0.15}
"""Share of the minutes or steps of each kind of step; its repetitions divide it among them."""


@dataclass(frozen=True)
class NoGan:
    """A NoGAN training: makes the runs of its steps.

    Attributes:
        start_from: A generator's weights to start from, such as `stable`'s for `video`; None to start from the encoder.
    """

    name: Name
    folder: Path
    photos: Photos
    held_back: Photos
    options: TrainingOptions
    pretrained: Pretrained
    hyperparameters: Hyperparameters
    device: str = "cpu"
    start_from: dict[str, Tensor] | None = None

    def runs(self) -> Iterator[TrainingRun]:
        """Yield the runs of the steps that are not finished, each when the one before it is done."""
        generator, critic = self.folder / "generator", None
        if not is_finished(generator):
            yield self.make_generator_run()
        for number in range(1, self.hyperparameters.repeats + 1):
            suffix = f"-{number}" if number > 1 else ""
            previous_critic, critic = critic, self.folder / f"critic{suffix}"
            if not is_finished(critic):
                yield self.make_critic_run(critic, generator, previous_critic)
            previous_generator, generator = generator, self.folder / f"gan{suffix}"
            if not is_finished(generator):
                yield self.make_gan_run(generator, previous_generator, critic)

    def step_options(self, step: str, count: int, keep_every: int | None = None) -> TrainingOptions:
        """Return the options of one of `count` runs of a step; no average and no clipping, as in the original."""
        share = SHARES[step] / count
        steps = None if self.options.steps is None else max(1, round(share * self.options.steps))
        minutes = share * self.options.minutes
        return replace(self.options, minutes=minutes, steps=steps, keep_every=keep_every, average=0.0, clip=0.0)

    def settings(self, step: str) -> dict[str, object]:
        """Return the settings of a step's run."""
        facts = {"recipe": f"deoldify {self.name}", "step": step, "photos": self.photos.identity}
        origin = self.pretrained.settings | {"started_from": self.start_from is not None}
        return facts | origin | asdict(self.hyperparameters)

    def make_generator(self) -> DeoldifyGenerator:
        """Return the generator with the pretrained encoder."""
        torch.manual_seed(self.options.seed)
        network = DeoldifyGenerator(self.hyperparameters.config or CONFIGS[self.name])
        load_encoder(network.layers["0"], self.pretrained.encoder)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def make_generator_run(self) -> TrainingRun:
        """Set up step 1: the generator alone."""
        network = self.make_generator()
        if self.start_from is not None:
            network.load_state_dict(self.start_from)
        groups = split_parameters(network, network.layers["0"])
        schedule = self.make_schedule()
        return self.make_network_run(
            "generator",
            self.folder / "generator",
            network,
            torch.optim.AdamW([{"params": group} for group in groups], betas=(0.9, 0.99), weight_decay=1e-3),
            self.make_generator_step(network, schedule, groups),
            self.step_options("generator", 1),
            schedule.learning_rates,
        )

    def make_schedule(self) -> PhaseSchedule:
        """Return the phases of step 1."""
        has_trained_resnet = bool(self.pretrained.encoder) or self.start_from is not None
        phases = []
        for share, side, batch, rates, rises in self.hyperparameters.stages:
            group_rates = rates if has_trained_resnet else (rates[2], rates[2], rates[2])
            phases.append(Phase(share, side, batch, group_rates, "cycle" if rises else "cosine"))
        return PhaseSchedule(phases)

    def make_generator_step(self, network: nn.Module, schedule: PhaseSchedule, groups: ParameterGroups) -> TrainingStep:
        """Return the training step of the generator alone."""
        draw_crops, feature_loss = self.make_crop_sampler(), self.make_feature_loss()

        def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
            phase, _ = schedule.phase_at(progress)
            freeze_idle_groups(groups, phase.rates)
            truth = draw_crops(phase.batch, phase.side, rng)
            noisy = add_film_noise(truth, self.hyperparameters.noise, rng)
            return {"loss": feature_loss(generate(network, noisy), truth)}

        return step

    def make_critic_run(self, folder: Path, generator_run: Path, previous_critic: Path | None) -> TrainingRun:
        """Set up step 2: the critic alone, on pictures that the generator of a finished run makes now.

        Args:
            folder: Folder of the new run.
            generator_run: Folder of the run whose best generator makes the pictures.
            previous_critic: Folder of the critic's run before; None to start from random weights.
        """
        torch.manual_seed(self.options.seed)
        network = DeoldifyCritic(self.hyperparameters.channels).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        first_rate, repeated_rate = self.hyperparameters.critic_rates
        if previous_critic is not None:
            network.load_state_dict(read_best_weights(previous_critic))
        rate = first_rate if previous_critic is None else repeated_rate
        generator = self.make_generator()
        generator.load_state_dict(read_best_weights(generator_run))
        return TrainingRun(
            folder,
            network,
            optimizer=torch.optim.AdamW(network.parameters(), rate, (0.9, 0.99), weight_decay=1e-3),
            training_step=self.make_critic_step(network, generator),
            judge=self.make_critic_judge(generator),
            options=self.step_options("critic", self.hyperparameters.repeats),
            settings=self.settings("critic"),
        )

    def make_critic_step(self, network: nn.Module, generator: nn.Module) -> TrainingStep:
        """Return the training step of the critic alone."""
        draw_crops = self.make_crop_sampler()
        count = min(self.hyperparameters.pictures, len(self.photos))
        generated = GeneratedPictures(generator.eval(), draw_crops, count, self.hyperparameters)
        half = max(1, self.hyperparameters.critic_batch // 2)

        def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
            with autocast(torch.device(self.device)):
                photographs = normalise(draw_crops(half, self.hyperparameters.side, rng))
                loss = critic_cross_entropy(network, photographs, generated.draw(half, rng))
            return {"loss": loss}

        return step

    def make_critic_judge(self, generator: nn.Module) -> Judge:
        """Return a judge of critics: cross-entropy and share of right answers on crops held back."""
        rng = torch.Generator().manual_seed(self.options.seed)
        draw_crops = make_crop_sampler(self.held_back, torch.device(self.device))

        def judge(critic: nn.Module) -> dict[str, float]:
            rng.manual_seed(self.options.seed)
            crops = draw_crops(8, self.hyperparameters.side, rng)
            photographs, generated = normalise(crops), generate(generator, crops)
            right = (critic(photographs) > 0).float().mean() + (critic(generated) < 0).float().mean()
            return {"score": float(critic_cross_entropy(critic, photographs, generated)), "right": float(right / 2)}

        return judge

    def make_gan_run(self, folder: Path, generator_run: Path, critic_run: Path) -> TrainingRun:
        """Set up step 3: generator and critic, from the best weights of two finished runs."""
        network = self.make_generator()
        network.load_state_dict(read_best_weights(generator_run))
        critic = DeoldifyCritic(self.hyperparameters.channels)
        adversary = Adversary(critic, self.hyperparameters.threshold).to(self.device)
        adversary.critic.load_state_dict(read_best_weights(critic_run))
        groups = split_parameters(network, network.layers["0"])
        freeze_idle_groups(groups, (0.0, 0.0, 1.0))
        parameters = [{"params": groups[2]}, {"params": list(adversary.parameters())}]
        rates = [self.hyperparameters.gan_rate, 5 * self.hyperparameters.gan_rate]
        run = self.make_network_run(
            "gan",
            folder,
            network,
            torch.optim.AdamW(parameters, betas=(0.0, 0.9), weight_decay=1e-3),
            self.make_gan_step(network, adversary),
            self.step_options("gan", self.hyperparameters.repeats, self.hyperparameters.keep_every),
            lambda _: rates,
        )
        run.extra_modules["rivals"] = adversary
        return run

    def make_gan_step(self, network: nn.Module, adversary: Adversary) -> TrainingStep:
        """Return the training step of generator and critic in turns."""
        draw_crops, feature_loss = self.make_crop_sampler(), self.make_feature_loss()
        device = torch.device(self.device)

        def generate_crops(rng: torch.Generator) -> tuple[Tensor, Tensor]:
            truth = draw_crops(self.hyperparameters.gan_batch, self.hyperparameters.side, rng)
            return generate(network, add_film_noise(truth, self.hyperparameters.noise, rng)), truth

        def critic_step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
            with torch.no_grad():
                generated, truth = generate_crops(rng)
            with autocast(device):
                loss = critic_cross_entropy(adversary.critic, normalise(truth), generated)
            return {"loss": loss, "critic": loss}

        def network_step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
            generated, truth = generate_crops(rng)
            with autocast(device):
                adversarial = cross_entropy(adversary.critic(generated), 1.0)
            features = feature_loss(generated, truth)
            adversarial_weight, feature_weight = self.hyperparameters.weights
            loss = adversarial_weight * adversarial + feature_weight * features
            return {"loss": loss, "deceived": adversarial, "features": features}

        return alternate_steps(adversary, critic_step, network_step)

    def make_crop_sampler(self) -> DrawCrops:
        """Return a function that draws crops to train on."""
        return make_crop_sampler(self.photos, torch.device(self.device))

    def make_feature_loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the feature loss of a generator's normalised picture against sRGB."""
        loss = FeatureLoss(self.pretrained.backbone, self.hyperparameters.features).to(self.device)

        def feature_loss(generated: Tensor, truth: Tensor) -> Tensor:
            with autocast(torch.device(self.device)):
                return loss(denormalise(generated), truth, scale=1 / IMAGENET_STD[1])  # type: ignore[no-any-return]

        return feature_loss

    def make_network_run(
        self,
        step: str,
        folder: Path,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        training_step: TrainingStep,
        options: TrainingOptions,
        learning_rates: LearningRates,
    ) -> TrainingRun:
        """Set up a run that trains the generator, judged as all colorizers are."""
        return TrainingRun(
            folder,
            network,
            optimizer,
            training_step,
            judge=make_colorizer_judge(self.held_back, decide_chroma),
            options=options,
            settings=self.settings(step),
            learning_rates=learning_rates,
            draw_samples=make_sample_drawer(self.held_back, decide_chroma),
        )
