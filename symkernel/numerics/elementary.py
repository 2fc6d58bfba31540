r"""Branch-free scalar functions that vectorise: exp, tanh, erf, sigmoid, softplus, activations.

numba's wheels hold no vector mathematics library, so `math.tanh` in a loop stays scalar. The
functions below are straight-line code (selections, no branches, no table), so that LLVM
vectorises any loop they are inlined into. They are correct at signed zeros, subnormals,
infinities and NaN. Each function states its largest error as measured against 60-digit
arithmetic, in units in the last place (ulp) of the exact value, on dense grids and random draws.

This file stands alone: its text is put in front of generated modules. The bodies also run
interpreted (``NUMBA_DISABLE_JIT=1``), where overflow gives NumPy's warning besides inf.

Notes
-----
Every function states ``fastmath={"contract"}`` itself: a caller compiled with ``fastmath=True``
would otherwise hand its flags down, and reassociation destroys the rounding constant.
``error_model="numpy"`` is there because the check for division by zero prevents vectorisation.
Polynomials are written out by Horner's rule: nothing but products and sums is left to vectorise.
`min` and `max` have the variable first: NaN then passes through, as all comparisons with it fail.

References
----------
W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980), chapter 6: argument
reduction by a two-part $\ln 2$. The polynomials are minimax fits of our own (Remez exchange).
"""

from __future__ import annotations

import math

import numba
import numpy as np

# Adding 1.5 * 2^52 rounds to an integer, which then stands in the low bits of the sum. With the
# exponent's bias 1023 added too, a shift by 52 turns these bits into a power of two.
_ROUNDER = 6755399441055744.0
_BIASED_ROUNDER = _ROUNDER + 1023.0
_LOG2_E = 1.4426950408889634
# The first 32 bits of ln 2, so that the product with an exponent of 11 bits is exact; the rest.
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
_2_LOG2_E = 2.8853900817779268
_HALF_LN2 = 0.34657359027997264
_SQRT_HALF = 0.7071067811865476
_SQRT_2_OVER_PI = 0.7978845608028654

_scalar = numba.njit(fastmath={"contract"}, error_model="numpy", forceinline=True)


@_scalar
def _exponent_and_rest(x):
    r"""Split $x = k \ln 2 + r$ with integer $k$ and $|r| \le \ln(2)/2$."""
    k = (x * _LOG2_E + _ROUNDER) - _ROUNDER
    return k, (x - k * _LN2_HIGH) - k * _LN2_LOW


@_scalar
def _power_of_two(k):
    r"""Return $2^k$ for an integer $-1022 \le k \le 1023$ given as float."""
    return np.int64(np.float64(k + _BIASED_ROUNDER).view(np.int64) << 52).view(np.float64)


@_scalar
def _expm1_of_rest(r):
    r"""Return $e^r - 1$ for $|r| \le \ln(2)/2$, relative error of the fit 1.8e-17."""
    q = 2.5114870505338108e-08
    q = q * r + 2.7626391560468864e-07
    q = q * r + 2.755722665500489e-06
    q = q * r + 2.480150429169285e-05
    q = q * r + 0.00019841269904554503
    q = q * r + 0.0013888888932494592
    q = q * r + 0.008333333333313838
    q = q * r + 0.04166666666657335
    q = q * r + 0.16666666666666688
    q = q * r + 0.5000000000000006
    return r + (r * r) * q


@_scalar
def exp(x):
    r"""Return $e^x$; inf above 709.78, gradual underflow below -708.4. Error up to 0.98 ulp."""
    x = max(min(x, 710.0), -746.0)
    k, r = _exponent_and_rest(x)
    # 2^k itself may lie outside the range of normal numbers where the result does not.
    half = (0.5 * k + _ROUNDER) - _ROUNDER
    return (1.0 + _expm1_of_rest(r)) * _power_of_two(half) * _power_of_two(k - half)


@_scalar
def expm1(x):
    r"""Return $e^x - 1$ as $(2^k - 1) + 2^k (e^r - 1)$. Error up to 1.9 ulp, also near 0."""
    k, r = _exponent_and_rest(max(min(x, 710.0), -40.0))
    # Half of everything: 2^k alone overflows at k = 1024, where the result need not.
    scale = _power_of_two(k - 1.0)
    result = 2.0 * ((scale - 0.5) + scale * _expm1_of_rest(r))
    # Halving would cost subnormals their last bit, and the sum would cost -0 its sign.
    return x if abs(x) < 1e-300 else result


@_scalar
def decay(x):
    r"""Return $e^{-x}$ for $x \ge 0$. Shares its polynomial with `rise` of the same argument.

    Error up to 1 ulp, gradual underflow above 708.4.
    """
    k, r = _exponent_and_rest(-min(x, 746.0))
    half = (0.5 * k + _ROUNDER) - _ROUNDER
    return (1.0 + _expm1_of_rest(r)) * _power_of_two(half) * _power_of_two(k - half)


@_scalar
def rise(x):
    r"""Return $1 - e^{-x}$ for $x \ge 0$, relative accuracy near 0. Error up to 2 ulp."""
    k, r = _exponent_and_rest(-min(x, 746.0))
    half = (0.5 * k + _ROUNDER) - _ROUNDER
    scale = _power_of_two(half) * _power_of_two(k - half)
    return (1.0 - scale) - scale * _expm1_of_rest(r)


@_scalar
def _tanh_fraction(a):
    r"""Return numerator and denominator of $\tanh a$ for $a \ge 0$.

    With $a = h - \tfrac12 k \ln 2$, $k \le 0$, and $T = \tanh h$ an odd polynomial,
    $\tanh a = ((1 - 2^k) + (1 + 2^k) T) / ((1 + 2^k) + (1 - 2^k) T)$.
    """
    # Beyond 20 tanh rounds to 1. One constant serves for ln(2)/2: where k < 0, its error is far
    # below the result.
    a = min(a, 20.0)
    k = (_ROUNDER - a * _2_LOG2_E) - _ROUNDER
    h = a + k * _HALF_LN2
    square = h * h
    q = 0.0034443567124444277
    q = q * square - 0.008857270414773516
    q = q * square + 0.02186936959242539
    q = q * square - 0.053968252767358525
    q = q * square + 0.13333333332775568
    q = q * square - 0.3333333333333247
    t = h + (h * square) * q
    scale = _power_of_two(k)
    return (1.0 - scale) + (1.0 + scale) * t, (1.0 + scale) + (1.0 - scale) * t


@_scalar
def tanh(x):
    r"""Return $\tanh x$. Error up to 2.5 ulp."""
    numerator, denominator = _tanh_fraction(abs(x))
    return math.copysign(numerator / denominator, x)


@_scalar
def tanhc(x):
    r"""Return $\tanh(x)/x$, 1 at $x = 0$ and $1/|x|$ for large $|x|$. Error up to 3.6 ulp."""
    a = abs(x)
    numerator, denominator = _tanh_fraction(a)
    # The product cannot overflow: the denominator is 0.9 for all a above 20.
    return 1.0 if a == 0.0 else numerator / (denominator * a)


@_scalar
def _erf_and_gaussian(x):
    r"""Return $\operatorname{erf} x$ and $e^{-x^2}$, which share one exponential.

    Below 0.7 an odd polynomial; above, $1 - e^{-x^2} p(t)$ with $t = (|x| - 3/2)/(|x| + 7/2)$,
    where the fit of $p$ weighs errors by $e^{-x^2}$. The Gaussian is 0 where it is below 3e-308.
    """
    square = x * x
    k, r = _exponent_and_rest(-square)
    gaussian = 0.0 if square > 708.0 else (1.0 + _expm1_of_rest(r)) * _power_of_two(k)
    q = -1.3120134727693319e-07
    q = q * square + 1.6135972608812945e-06
    q = q * square - 1.4907135248080792e-05
    q = q * square + 0.0001205469233656081
    q = q * square - 0.0008548313239649031
    q = q * square + 0.005223977444336584
    q = q * square - 0.026866170631430073
    q = q * square + 0.11283791670902368
    q = q * square - 0.3761263890318296
    q = q * square + 0.12837916709551256
    # The fit ends at 5.95, beyond which erf rounds to 1.
    a = abs(x)
    b = min(a, 5.95)
    t = (b - 1.5) / (b + 3.5)
    p = -0.001984567514692019
    p = p * t + 0.0011625243535030038
    p = p * t + 0.01025606874227732
    p = p * t - 0.01963413606024831
    p = p * t - 0.02904579980224593
    p = p * t + 0.21078549813779793
    p = p * t - 0.5389545337598257
    p = p * t + 0.9049620087440056
    p = p * t - 1.126925758330349
    p = p * t + 1.0856614077244413
    p = p * t - 0.8181145886628017
    p = p * t + 0.3215854164543174
    tail = math.copysign(1.0 - gaussian * p, x)
    return (x + x * q) if a < 0.7 else tail, gaussian


@_scalar
def erf(x):
    r"""Return $\operatorname{erf} x$. Error up to 1.5 ulp."""
    return _erf_and_gaussian(x)[0]


@_scalar
def sigmoid(x):
    r"""Return $1/(1 + e^{-x})$, gradual underflow below -708.4. Error up to 2.1 ulp."""
    e = decay(abs(x))
    # With the exponential of -|x| on both sides nothing overflows.
    return (1.0 if x > 0.0 else e) / (1.0 + e)


@_scalar
def softplus(x):
    r"""Return $\ln(1 + e^x) = \max(x, 0) + \ln(1 + y)$ with $y = e^{-|x|}$.

    $\ln(1 + y) = 2\operatorname{artanh} s$ with $s = y/(2 + y) \le 1/3$ is an odd polynomial.
    Error up to 2.3 ulp, gradual underflow below -708.4.
    """
    y = decay(abs(x))
    s = y / (2.0 + y)
    square = s * s
    q = 0.08093784913607442
    q = q * square + 0.04394492590548336
    q = q * square + 0.060017596710102095
    q = q * square + 0.06656934808836368
    q = q * square + 0.07692794012103399
    q = q * square + 0.09090894373143553
    q = q * square + 0.11111111366154564
    q = q * square + 0.14285714283474002
    q = q * square + 0.20000000000007626
    q = q * square + 0.3333333333333333
    return max(x, 0.0) + 2.0 * (s + (s * square) * q)


@_scalar
def heaviside(x):
    r"""Return 1 for $x > 0$, otherwise 0."""
    return 1.0 if x > 0.0 else 0.0


@_scalar
def sign(x):
    r"""Return the sign of $x$, 0 at $x = 0$."""
    return (1.0 if x > 0.0 else 0.0) - (1.0 if x < 0.0 else 0.0)


@_scalar
def linear_and_slope(z):
    r"""Return $z$ and 1."""
    return z, 1.0


@_scalar
def relu_and_slope(z):
    r"""Return $\max(0, z)$ and its slope, which is 0 at $z = 0$. NaN passes through the value."""
    return max(z, 0.0), 1.0 if z > 0.0 else 0.0


@_scalar
def tanh_and_slope(z):
    r"""Return $\tanh z$ and the slope $1 - \tanh^2 z$, whose absolute error is up to 5.5e-16."""
    value = tanh(z)
    return value, 1.0 - value * value


@_scalar
def erf_and_slope(z):
    r"""Return $\operatorname{erf}(z/\sqrt 2)$ and the slope $\sqrt{2/\pi}\,e^{-z^2/2}$.

    Error up to 1.8 ulp in the value; absolute error up to 1.7e-16 in the slope.
    """
    value, gaussian = _erf_and_gaussian(z * _SQRT_HALF)
    return value, _SQRT_2_OVER_PI * gaussian


@_scalar
def sigmoid_and_slope(z):
    r"""Return $\sigma(z) = 1/(1 + e^{-z})$ and the slope $\sigma(z)\,\sigma(-z)$.

    Error up to 2.1 ulp in the value and 3.1 ulp in the slope.
    """
    e = decay(abs(z))
    below = 1.0 + e
    return (1.0 if z > 0.0 else e) / below, e / (below * below)


@_scalar
def quadratic_and_slope(z):
    r"""Return $z^2$ and $2 z$."""
    return z * z, 2.0 * z
