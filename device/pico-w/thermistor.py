"""Physics of an NTC thermistor in a voltage divider. No hardware, no network, no state.

    3V3 --- series resistor ---+--- thermistor --- GND
                               |
                              ADC

Shapes: `adc` is 0..65535 as MicroPython's ADC.read_u16() gives it, resistance in ohm, temperature in
degrees Celsius. `constants` is the `thermistor` object of the configuration (see settings.py).
"""

import math

FULL_SCALE = 65535
ZERO_CELSIUS = 273.15
# Outside this share of full scale no real temperature is meant: 1 % is below 102 ohm (above 180 C with
# the default part), 99 % above 990 kohm (below -50 C).
SHORT_BELOW = FULL_SCALE // 100
OPEN_ABOVE = FULL_SCALE - FULL_SCALE // 100


def fault(adc):
    """"short", "open" (a broken wire: the series resistor pulls the pin up) or None."""
    if adc < SHORT_BELOW:
        return "short"
    if adc > OPEN_ABOVE:
        return "open"
    return None


def resistance(adc, series):
    """The thermistor's resistance from the divider's share: R = Rs * a / (1 - a)."""
    return series * adc / (FULL_SCALE - adc)


def beta(ohm, r25, b):
    """Beta equation: 1/T = 1/T25 + ln(R/R25)/B."""
    inverse = 1 / (25 + ZERO_CELSIUS) + math.log(ohm / r25) / b
    return 1 / inverse - ZERO_CELSIUS


def steinhart_hart(ohm, a, b, c):
    """Steinhart-Hart equation: 1/T = A + B ln R + C (ln R)^3."""
    log = math.log(ohm)
    return 1 / (a + b * log + c * log * log * log) - ZERO_CELSIUS


def celsius(ohm, constants):
    """Temperature by the model that the configuration names."""
    if constants["model"] == "steinhart-hart":
        t = steinhart_hart(ohm, constants["a"], constants["b"], constants["c"])
    else:
        t = beta(ohm, constants["r25"], constants["beta"])
    return t + constants["offset"]


def reading(adc, constants):
    """One telemetry object: a temperature, or a fault and no temperature."""
    failed = fault(adc)
    if failed:
        return {"fault": failed, "adc": adc}
    ohm = resistance(adc, constants["series"])
    return {"temperature": round(celsius(ohm, constants), 2), "resistance": round(ohm), "adc": adc}
