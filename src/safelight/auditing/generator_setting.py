"""Everything an audit of a generator needs before its first attack, checked beforehand."""

from dataclasses import dataclass
from typing import Literal

import pydantic
import torch
from pydantic import BaseModel, ConfigDict

from safelight import catalog
from safelight.attacks.generator_attack import CandidateAttack, GeneratorAttack, MemoryAttack
from safelight.auditing import setting as describe
from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import Roles, deal
from safelight.errors import DataError, PlanError
from safelight.plan.plan import DataPlan, Plan
from safelight.record.membership import FEWEST_SCORES
from safelight.stats.seeds import Seeds
from safelight.targets.generators.adversarial import train_generator
from safelight.targets.generators.defended import GeneratorDefense, train_defended
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator as Released
from safelight.targets.generators.released import load_generator
from safelight.threats.released_generator import ReleasedGenerator

#: Own pictures that a distance is scaled by come 50 at a time.
FEWEST_REFERENCE = 100

#: What a generator's facts call the hash of its training set.
HASH = "training_set_sha256"


class GeneratorOptions(BaseModel):
    """The keys of ``target.options`` where the target is a generator.

    ``recipe``: how it was trained, or is trained here where ``target.weights`` is unset.
    ``candidates``: of the training pictures, so many are asked about. ``twin``: a file of a
    generator that was trained alike on other pictures, or ``train``: train one on as many of the
    public pictures, by the plan's defense if it has one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: GeneratorRecipe | None = None
    candidates: int | None = pydantic.Field(None, ge=FEWEST_SCORES)
    twin: Literal["train"] | str | None = None


@dataclass(frozen=True)
class GeneratorSetting:
    """A resolved plan: the components built, the pictures dealt, the networks loaded.

    ``members`` and ``others`` are the candidates of either side; ``reference`` are pictures that
    nobody trained on, the attacker's where the threat says so.
    """

    plan: Plan
    device: torch.device
    pairs: list[tuple[ReleasedGenerator, GeneratorAttack]]
    networks: Released
    twin: Released | None
    members: ImageSet
    others: ImageSet
    reference: ImageSet

    @property
    def vouched(self) -> bool:
        """Whether more than the plan's word says that ``data.private`` is the training set."""
        return self.plan.target.weights is None or self.networks.facts.get(HASH) is not None


def prepare(plan: Plan) -> GeneratorSetting:
    """Resolve a plan whose threats are ``released_generator``.

    ``data.private`` is the training set, ``data.holdout`` pictures it never saw, ``data.public``
    what the attacker owns; as many candidates are taken of the first two. ``target.model`` is
    ``generator``, ``target.weights`` its file, ``target.options`` are ``GeneratorOptions``.

    Raises:
        PlanError, DataError, LoadError: it cannot be run as it is written.
    """
    if len(plan.seeds) > 1:
        raise PlanError(
            f"seeds = {plan.seeds}: an audit of a generator makes its pictures once; give one "
            "seed, and raise the attacks' samples for more certainty"
        )
    options = options_of(plan)
    pairs = _pairs(plan)
    roles = deal(plan.data)
    if roles.private is None:
        raise PlanError(
            "an audit of a generator needs data.private, the pictures that it was trained on; name "
            "them, and as data.holdout others of the same source"
        )
    _check_one_file(plan.data)
    device, cache = describe.device_of(plan.device), Cache()
    n = min(len(roles.private), len(roles.holdout), options.candidates or len(roles.holdout))
    if n < FEWEST_SCORES:
        raise DataError(
            f"{n} candidates of a side are too few to judge; set data.private.count and "
            f"data.holdout.count to {FEWEST_SCORES} or more"
        )
    if len(roles.public) < FEWEST_REFERENCE:
        raise DataError(
            f"{len(roles.public)} public pictures are too few to compare distances with; set "
            f"data.public.count to {FEWEST_REFERENCE} or more"
        )
    rows = torch.arange(n)
    networks = _networks(plan, options, roles.private, device, cache)
    return GeneratorSetting(
        plan=plan,
        device=device,
        pairs=pairs,
        networks=networks,
        twin=_twin(plan, options, networks, roles, device, cache),
        members=roles.private.rows(rows).to(device),
        others=roles.holdout.rows(rows).to(device),
        reference=roles.public.to(device),
    )


def _check_one_file(data: DataPlan) -> None:
    """Refuse sets of different files: who wrote or took them then tells members from others.

    Of MNIST, the writers of the test file are others than those of the training file. Own pictures
    of the test file calibrate its others better than members, which passes for a memory: a
    generator with epsilon 1 had an AUC of 0.53 (docs/results/generator.md).
    """
    roles = {"private": data.private, "holdout": data.holdout, "public": data.public}
    files = {
        name: (one.source or data.source, one.split.partition("[")[0])
        for name, one in roles.items()
        if one is not None
    }
    if len(set(files.values())) > 1:
        told = ", ".join(f"data.{name} of {' '.join(file)}" for name, file in files.items())
        raise PlanError(
            f"{told}: pictures of different files differ in more than membership; draw all three "
            "from the file that the generator was trained on, and train it on a part"
        )


def options_of(plan: Plan) -> GeneratorOptions:
    """Return the options of a plan's generator.

    Raises:
        PlanError: a key or value is wrong, or the target is no generator.
    """
    if plan.target.model != "generator":
        raise PlanError(
            f"target.model is {plan.target.model!r}, and released_generator is about a generator; "
            'set target.model = "generator" and target.weights to its file'
        )
    try:
        return GeneratorOptions.model_validate(plan.target.options)
    except pydantic.ValidationError as error:
        raise PlanError(f"target.options: {catalog.explain_invalid(error)}") from None


def mismatch(threat: ReleasedGenerator, attack: GeneratorAttack) -> str:
    """Return why an attack cannot be run under a threat, or an empty string."""
    missing = attack.needs.missing_from(threat.offers)
    if not missing:
        return ""
    return (
        f"{catalog.name_of(attack)} needs {' and '.join(missing)}, which this adversary does not "
        "have"
    )


def _networks(
    plan: Plan, options: GeneratorOptions, private: ImageSet, device: torch.device, cache: Cache
) -> Released:
    if plan.target.weights is None:
        if options.recipe is None:
            raise PlanError(
                "there is no generator to audit; set target.weights to its file, or "
                "target.options.recipe to train one here"
            )
        return _trained(plan, options.recipe, private, device, cache)
    if plan.defense is not None:
        raise PlanError("a defended generator is trained here; leave out target.weights")
    made = _loaded(plan.target.weights, device)
    told, n = made.facts.get(HASH), made.facts.get("n")
    if told not in (None, private.sha256()) or n not in (None, len(private)):
        raise DataError(
            f"data.private, {len(private)} pictures, is not what {plan.target.weights} was trained "
            f"on ({made.facts.get('trained_on', 'other pictures')}); write data as in its training"
        )
    return made


def _trained(
    plan: Plan, recipe: GeneratorRecipe, private: ImageSet, device: torch.device, cache: Cache
) -> Released:
    """Train a generator, by the plan's defense if it has one."""
    if plan.defense is None:
        return train_generator(recipe, private, device, cache)
    defense = catalog.build("defense", plan.defense.name, plan.defense.options)
    if not isinstance(defense, GeneratorDefense):
        raise PlanError(
            f"{plan.defense.name} trains no generator; take dp_gan or dp_merf as the defense"
        )
    return train_defended(defense, recipe, private, device, cache)


def _twin(
    plan: Plan,
    options: GeneratorOptions,
    networks: Released,
    roles: Roles,
    device: torch.device,
    cache: Cache,
) -> Released | None:
    """Return the generator that was trained alike on other pictures, if the plan asks for one."""
    private, public = roles.private, roles.public
    if options.twin is None or private is None:
        return None
    if options.twin != "train":
        made = _loaded(options.twin, device)
        if made.facts.get(HASH) == private.sha256():
            raise DataError(
                f"{options.twin} was trained on data.private itself; give a twin of other pictures"
            )
        return made
    if "privacy" in networks.facts and plan.defense is None:
        raise PlanError(
            f"{plan.target.weights} was trained by a defense, and a twin trained here would have "
            "none; set target.options.twin to the file of one that was trained alike"
        )
    recipe = options.recipe or networks.recipe
    if recipe is None:
        raise PlanError(
            "a twin is trained as the generator was, and nothing says how; set "
            "target.options.recipe, or target.options.twin to a file"
        )
    if len(public) < len(private):
        raise DataError(
            f"a twin trains on {len(private)} public pictures and there are {len(public)}; set "
            f"data.public.count to {len(private)} or more"
        )
    # The last ones: the first may stay pictures that nobody trained on.
    rows = torch.arange(len(public) - len(private), len(public))
    if plan.defense is not None:  # noise that both have in common would be none between them
        seed = Seeds(recipe.seed, ("twin",)).integer()
        recipe = recipe.model_copy(update={"seed": seed})
    return _trained(plan, recipe, public.rows(rows), device, cache)


def _loaded(file: str, device: torch.device) -> Released:
    """Load a file, or one that is shipped, named as in ``shipped/digits-128``."""
    made = load_generator(file)
    made.generator.to(device)
    if made.discriminator is not None:
        made.discriminator.to(device)
    return made


def _pairs(plan: Plan) -> list[tuple[ReleasedGenerator, GeneratorAttack]]:
    attacks: list[tuple[str, GeneratorAttack]] = []
    for one in plan.attacks:
        for attack in catalog.expand("attack", one.name, one.options):
            if not isinstance(attack, CandidateAttack | MemoryAttack):
                raise PlanError(f"{one.name} attacks no generator; put it in a plan of its own")
            attacks.append((one.label or one.name, attack))
    known = list(dict.fromkeys(label for label, _ in attacks))
    pairs = []
    for threatened in plan.threats:
        wanted = known if threatened.attacks is None else threatened.attacks
        for label in wanted:
            if label not in known:
                name = f"attack of threat {threatened.name}"
                raise PlanError(catalog.unknown(name, label, known))
        for threat in catalog.expand("threat", threatened.name, threatened.options):
            if not isinstance(threat, ReleasedGenerator):
                raise PlanError(
                    f"{threatened.name} and released_generator ask different questions; write a "
                    "plan for each"
                )
            pairs += [(threat, attack) for label, attack in attacks if label in wanted]
    return pairs
