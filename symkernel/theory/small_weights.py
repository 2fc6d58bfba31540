r"""Learning of many tasks from small weights: plateaus, escape rates, and tasks done at once.

From small weights the network of `symkernel.environments.Multitasking` learns in stages. The direct
path answers what the task alone says, with the loss $L_0$. The hidden layer then grows along what
all tasks have in common, which feature is shown whatever the group, at the rate $r_1$, up to the
loss $L_1$. At last it learns to gate: which group is to be read. Where the hidden layer is blind to
the response group, tasks done at once are right by coincidence alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from symkernel import notation
from symkernel.check_report import CheckReport, Documented
from symkernel.environments.multitasking import Multitasking
from symkernel.environments.symbolic_multitasking import SymbolicMultitasking
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.formula import Formula, Step
from symkernel.problem.activation import ACTIVATIONS, ARGUMENT, Activation
from symkernel.problem.activation import activation as find_activation
from symkernel.problem.network import ActivationLike
from symkernel.problem.problem import CONVENTIONS
from symkernel.theory.feature_averages import FeatureAverages, indicator

G, M, K = sp.symbols("G M K", integer=True, positive=True)
PLATEAUS = (
    notation.symbol("L_0", "L_0", "loss of the best outputs that know the task alone"),
    notation.symbol(
        "L_1", "L_1", "loss of the best outputs that also know which features are shown"
    ),
)
ESCAPE = notation.symbol("r_1", "r_1", "rate at which pooled features grow in the hidden layer")
GATING = notation.symbol("r_2", "r_2", "rate at which a unit learns to gate")
ACCURACY = notation.symbol(
    "acc_K", r"\mathrm{acc}_K", "share of prompts of K tasks that are answered right"
)
BIAS = notation.symbol("b_h", "b", "bias of the hidden units", real=True)
SLOPE = notation.symbol("phi_slope", r"\phi'(b)", "slope of the hidden activation at the bias")
CURVE = notation.symbol("phi_curve", r"\phi''(b)", "curvature of the hidden activation at the bias")
GAIN = notation.symbol("psi_slope", r"\psi'", "slope of the output where it answers 1/M")
READOUT = notation.symbol(
    "w_r", r"|\tilde w|", "a unit's read-out, less its mean over features", positive=True
)
_OUTPUTS = ("sigmoid", "linear")


@dataclass(frozen=True, eq=False)
class SmallWeights(Documented):
    """What is known in closed form of learning from small weights, with the way to it.

    Attributes
    ----------
    groups, features : SymPy expressions
        G and M, numbers or symbols.
    activation, output_activation : Activation
    """

    groups: sp.Expr
    features: sp.Expr
    activation: Activation
    output_activation: Activation

    def __repr__(self) -> str:
        head = f"Small weights, {self._sizes}, {self._network}"
        return "\n".join([head, *(f"  {f.symbol} = {f.plain}  ({f.name})" for f in self.formulas)])

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """All results; those of a hidden layer blind to responses where the output saturates."""
        gated = (self.gating_rate, self.concurrent_accuracy(K)) if self.is_shared else ()
        return (*self.plateaus, self.escape_rate, *gated)

    @property
    def _sizes(self) -> str:
        return f"{self.groups} groups of {self.features} features"

    @property
    def _network(self) -> str:
        return f"{self.activation.name} hidden units, {self.output_activation.name} output"

    @property
    def is_gated(self) -> bool:
        """Whether the output saturates: where it answers 0, nothing is driven any more."""
        return not self.output_activation.is_linear

    @cached_property
    def curvature(self) -> sp.Expr:
        """Curvature of the hidden activation at the bias; 0 of one that is linear by pieces."""
        found = sp.diff(self.activation.expression, ARGUMENT, 2)
        return sp.S.Zero if found.has(sp.DiracDelta) else found.subs(ARGUMENT, BIAS)

    @property
    def is_shared(self) -> bool:
        """Whether the hidden layer can gate by stimulus group, and has no reason to do more."""
        return self.is_gated and self.curvature.is_zero is not True

    @cached_property
    def averages(self) -> FeatureAverages:
        """Averages over stimuli, in symbols."""
        return FeatureAverages(G, M)

    def _at(self, expression: sp.Expr) -> sp.Expr:
        return expression.subs({G: self.groups, M: self.features}, simultaneous=True)

    def covariance(self, groups: tuple[int, int], features: tuple[int, int]) -> sp.Expr:
        """Return the covariance of two indicators; group 0 is the one that is read."""
        one, other = map(indicator, groups, features)
        mean = self.averages.mean
        return sp.factor(mean(one * other) - mean(one) * mean(other))

    @cached_property
    def count_variance(self) -> sp.Expr:
        """Variance of the number of groups that show a feature."""
        return sp.factor(self.averages.over_pairs(lambda k, l: self.covariance((k, l), (0, 0))))

    @cached_property
    def losses(self) -> tuple[sp.Expr, sp.Expr]:
        """Losses of both plateaus, in symbols."""
        first = M * self.covariance((0, 0), (0, 0)) / 2
        # An additive output tells all response groups the mean over tasks; one that saturates
        # tells the addressed group alone, and the mean over stimulus groups.
        told = (M / G**2 if self.is_gated else G * M / G**4) * self.count_variance
        return sp.factor(first), sp.factor(first - told / 2)

    @cached_property
    def drive(self) -> sp.Expr:
        r"""What drives pooled features: $\langle (y - f)\,x^T\rangle$ along their contrast."""
        by_feature = [self.covariance((0, 0), (0, v)) / G**2 for v in (0, 1)]
        return sp.factor(G * (by_feature[0] - by_feature[1]))

    @cached_property
    def gate_drive(self) -> sp.Expr:
        """What one task drives at plateau 1, along contrasts of stimulus groups and features."""

        def moment(group: int, v: int) -> sp.Expr:
            shared = self.averages.over_groups(lambda k: self.covariance((0, k), (0, v)))
            return (self.covariance((0, group), (0, v)) - shared / G) / G**2

        read, other = (moment(group, 0) - moment(group, 1) for group in (0, 1))
        return sp.factor(read - other)

    @cached_property
    def gain(self) -> sp.Expr:
        """Slope of the output where it answers 1/M, in symbols."""
        slope = self.output_activation.slope.subs(ARGUMENT, self.output_argument)
        return sp.factor(sp.together(slope))

    @property
    def output_argument(self) -> sp.Expr:
        """Where the output answers 1/M."""
        share = self.averages.mean(indicator(0, 0))
        return sp.log(share / (1 - share)) if self.is_gated else share

    @property
    def plateaus(self) -> tuple[Formula, Formula]:
        """Losses at which learning rests: with the task known alone, and with pooled features."""
        names = ("loss where the task alone is known", "loss where pooled features are known too")
        first, second = self.losses
        return (
            Formula(names[0], PLATEAUS[0], self._at(first)),
            Formula(names[1], PLATEAUS[1], self._at(second)),
        )

    @property
    def escape_rate(self) -> Formula:
        """Rate at which weights grow out of the first plateau, to leading order in them."""
        slope = self.activation.slope.subs(ARGUMENT, BIAS)
        where = ((GAIN, self._at(self.gain)), (SLOPE, slope))
        # Contrasts of either sign grow: where the slope is negative, the opposite one.
        slopes = (self.activation.slope.subs(ARGUMENT, z) for z in range(-8, 9))
        size = sp.Abs(SLOPE) if any(value.is_negative for value in slopes) else SLOPE
        return Formula("escape rate", ESCAPE, self._at(self.drive) * size * GAIN, where)

    @property
    def gating_rate(self) -> Formula:
        r"""Rate at which a unit learns to gate at the second plateau: an APPROXIMATION.

        $|\tilde w|$ is the unit's read-out, less its mean over features. Averages of products are
        replaced by products of averages. In training from the scale 0.001, units with read-outs
        above the median grew 0.9 to 1.3 times as fast (medians, three environments).
        """
        self._require_gates("gating rate")
        curve = self.curvature
        rate = sp.Abs(CURVE) * GAIN * READOUT * self._at(sp.sqrt(G) * self.gate_drive)
        where = ((GAIN, self._at(self.gain)), (CURVE, curve))
        return Formula("gating rate, approximately", GATING, rate, where)

    def concurrent_accuracy(self, tasks: int | sp.Expr) -> Formula:
        """Return the share of prompts of K tasks that a hidden layer blind to responses answers.

        Parameters
        ----------
        tasks : int or SymPy expression
            K, at most the number of groups.
        """
        self._require_gates("concurrent accuracy")
        count = sp.sympify(tasks) if isinstance(tasks, (int, sp.Expr)) else None
        if count is None or isinstance(tasks, bool) or count.is_integer is False:
            raise InvalidArgument(
                f"Argument 'tasks' must be the number of tasks, an integer or a SymPy symbol, not "
                f"{tasks!r}."
            )
        if (count < 1) == sp.true or (count > self.groups) == sp.true:
            raise InvalidArgument(
                f"Argument 'tasks' must be from 1 to the number of groups, {self.groups}, not "
                f"{tasks}: more tasks would share a response group."
            )
        # M features that all may be, of M^K possibilities.
        share = sp.powsimp(M * M**-count)
        return Formula("accuracy by coincidence", ACCURACY, self._at(share))

    def _require_gates(self, what: str) -> None:
        if not self.is_gated:
            raise OutsideValidity(
                f"The {what} is known where the output saturates. A linear output forces the "
                f"hidden layer to tell response groups apart as well: small weights do not lead to "
                f"representations that are shared."
            )
        if not self.is_shared:
            raise OutsideValidity(
                f"The {what} needs hidden units with a curvature at the bias, which is what gates; "
                f"{self.activation.name} has none."
            )

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The derivation, in symbols; each step with a check on counted prompts."""
        from symkernel.theory.small_weights_steps import steps

        return steps(self)

    def check(self) -> CheckReport:
        """Run the check of every step."""
        return CheckReport.of_steps(f"learning from small weights, {self._network}", self.steps)

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return a document: every step with its check, then the results.

        Parameters
        ----------
        names : mapping of str to str, optional
            LaTeX for the identifiers of symbols.
        """
        from symkernel.report.latex_steps import named, steps_document

        return steps_document(
            "Learning many tasks from small initial weights",
            f"plateaus, escape and accuracy, {self._sizes}, {self._network}", self.steps,
            named(self.formulas, names), conventions=CONVENTIONS[:2], report=self.check(),
            names=names,
        )  # fmt: skip


def small_weights(
    environment: Multitasking | SymbolicMultitasking | None = None,
    activation: ActivationLike = "sigmoid",
    output_activation: ActivationLike = "sigmoid",
) -> SmallWeights:
    r"""Return what is known in closed form of learning many tasks from small weights.

    $$L_0 = \tfrac12\left(1 - \tfrac1M\right),\qquad
    L_1 = \tfrac12\left(1 - \tfrac1M\right)\left(1 - \tfrac1G\right),\qquad
    r_1 = \frac{\phi'(b)\,\psi'}{GM},\qquad \mathrm{acc}_K = M^{-(K-1)}$$

    with $\psi' = \frac1M(1-\frac1M)$ for a sigmoid output; with a linear one $\psi' = 1$ and
    $L_1 = \frac12(1-\frac1M)(1-\frac1{G^2})$.

    Parameters
    ----------
    environment : Multitasking, optional
        Its G and M, numbers or symbols, are put into the formulas; symbols G and M if not given.
    activation : str, sympy.Expr or Activation
        Of the hidden units, with a slope at the bias.
    output_activation : {"sigmoid", "linear"}
        Of the output; the network has a direct path from the task to it.

    Returns
    -------
    SmallWeights

    Notes
    -----
    Plateaus are the losses of the best answers from what is known. The rate holds to leading order
    in the hidden weights, as long as the hidden units stay near their bias. While a linear output
    learns its mean they drift, and the rate holds, to 1 %, with the slope $\phi'$ where they are
    then: it was within 1.2 % at the learning rate 1 from an output bias of 0, 15 to 21 % lower from
    -2, and 1.9 to 3.1 times lower at the learning rate 2, where the mean overshoots.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> theory = sk.small_weights(sk.environments.Multitasking(groups=3, features=3))
    >>> assert [f.expression for f in theory.plateaus] == [sp.Rational(1, 3), sp.Rational(2, 9)]
    >>> b = sp.Symbol("b_h", real=True)
    >>> assert round(float(theory.escape_rate.plain.subs(b, -2)), 6) == 0.002592
    >>> assert theory.concurrent_accuracy(3).expression == sp.Rational(1, 9)
    """
    if environment is not None and not isinstance(
        environment, (Multitasking, SymbolicMultitasking)
    ):
        raise InvalidArgument(
            f"Argument 'environment' must be a Multitasking environment, not {environment!r}."
        )
    hidden, output = find_activation(activation), find_activation(output_activation)
    if output not in [ACTIVATIONS[name] for name in _OUTPUTS]:
        raise InvalidArgument(
            f"Argument 'output_activation' must be 'sigmoid' or 'linear', not {output.name!r}: it "
            f"must answer both 1/M and 0, and be known to saturate or not at 0."
        )
    sizes = (G, M) if environment is None else (environment.groups, environment.features)
    return SmallWeights(sp.sympify(sizes[0]), sp.sympify(sizes[1]), hidden, output)
