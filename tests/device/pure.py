"""Tests of the device program's pure parts; run by pure.test.mjs under MicroPython."""

import sas
import settings
import thermistor

CONSTANTS = settings.DEFAULTS["thermistor"]
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
EXPIRY = 1893456000


def near(got, wanted, tolerance):
    assert abs(got - wanted) <= tolerance, "%r is not %r within %r" % (got, wanted, tolerance)


def refused(call, *arguments):
    try:
        call(*arguments)
    except ValueError as error:
        return str(error)
    raise AssertionError("%r was accepted" % (arguments,))


def test_beta_against_table():
    # R(T) = 10 kohm * exp(3950 * (1/T - 1/298.15))
    for celsius, ohm in ((-20, 105385), (0, 33621), (25, 10000), (50, 3588.1), (100, 697.5)):
        near(thermistor.beta(ohm, 10000, 3950), celsius, 0.01)


def test_steinhart_hart_against_table():
    # The resistance table that makers publish for the 10 kohm part with these three constants.
    for celsius, ohm in ((-20, 97083), (0, 32650.8), (25, 10000), (50, 3602.3), (100, 678.3)):
        near(thermistor.steinhart_hart(ohm, CONSTANTS["a"], CONSTANTS["b"], CONSTANTS["c"]), celsius, 0.03)


def test_divider():
    near(thermistor.resistance(32767.5, 10000), 10000, 0.001)
    near(thermistor.resistance(65535 / 4, 10000), 3333.33, 0.01)
    near(thermistor.resistance(65535 * 3 / 4, 4700), 14100, 0.01)


def test_reading_has_the_fields_of_the_telemetry():
    reading = thermistor.reading(35316, CONSTANTS)
    assert sorted(reading) == ["adc", "resistance", "temperature"], reading
    near(reading["temperature"], 21.53, 0.005)
    assert reading["resistance"] == 11687, reading
    assert reading["adc"] == 35316


def test_model_and_offset_come_from_the_configuration():
    constants = dict(CONSTANTS)
    constants["offset"] = -0.5
    near(thermistor.celsius(10000, constants), 24.5, 0.001)
    constants["model"] = "steinhart-hart"
    near(thermistor.celsius(32650.8, constants), -0.5, 0.01)


def test_broken_wire_and_short_have_no_temperature():
    assert thermistor.reading(65535, CONSTANTS) == {"fault": "open", "adc": 65535}
    assert thermistor.reading(0, CONSTANTS) == {"fault": "short", "adc": 0}
    # The last readings that count on either side.
    assert "temperature" in thermistor.reading(thermistor.SHORT_BELOW, CONSTANTS)
    assert "temperature" in thermistor.reading(thermistor.OPEN_ABOVE, CONSTANTS)
    assert "fault" in thermistor.reading(thermistor.SHORT_BELOW - 1, CONSTANTS)
    assert "fault" in thermistor.reading(thermistor.OPEN_ABOVE + 1, CONSTANTS)


def test_hmac_rfc_4231():
    def hex(data):
        return "".join("%02x" % b for b in data)

    wanted = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    assert hex(sas.hmac_sha256(b"\x0b" * 20, b"Hi There")) == wanted
    # A key longer than a block is hashed first.
    wanted = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    message = b"Test Using Larger Than Block-Size Key - Hash Key First"
    assert hex(sas.hmac_sha256(b"\xaa" * 131, message)) == wanted


def test_signature_vectors():
    for resource, wanted in (
        ("hub1.example.test%2Fdevices%2Fdev-1", "D3YPCbjg9OEBgbkWVCXmOeKhVVkbOo7jR+VPYEFxF5w="),
        ("hub1.example.test%2fdevices%2fdev-1", "fNWuuIBZGqIAMsh6WGGlPKp3Gt7qSOT1qnlNRJtVKsI="),
        ("hub1.example.test", "jqevsbxyY+OSlaPjzWQE4xd83NR3tgaQfh7sJnadmj8="),
    ):
        assert sas.signature(KEY, resource, EXPIRY) == wanted, resource


def test_token():
    assert sas.token(KEY, "hub1.example.test/devices/dev-1", EXPIRY) == (
        "SharedAccessSignature sr=hub1.example.test%2Fdevices%2Fdev-1"
        "&sig=D3YPCbjg9OEBgbkWVCXmOeKhVVkbOo7jR%2BVPYEFxF5w%3D&se=1893456000"
    )


def test_percent_encoding():
    assert sas.percent_encode("aZ09-_.~") == "aZ09-_.~"
    assert sas.percent_encode("a b/\u00e9+") == "a%20b%2F%C3%A9%2B"


def test_connection_string_keeps_the_padding_of_the_key():
    got = settings.parse_connection_string("HostName=h;DeviceId=d;SharedAccessKey=abc=")
    assert got == {"host": "h", "device": "d", "key": "abc="}, got


def test_errors_of_the_configuration_name_the_cause_and_hide_the_key():
    text = refused(settings.parse_connection_string, "HostName=h;SharedAccessKey=secret")
    assert "DeviceId" in text and "secret" not in text, text
    good = "HostName=h;DeviceId=d;SharedAccessKey=k"
    assert "intervall" in refused(settings.complete, {"connection_string": good, "intervall": 1})
    wrong = {"connection_string": good, "thermistor": {"bta": 1}}
    assert "thermistor.bta" in refused(settings.complete, wrong)


def test_interval_limits():
    assert settings.check_interval(0.2) == 0.2 and settings.check_interval(3600) == 3600
    for wrong in (0, -1, 3601, "5", None, True):
        refused(settings.check_interval, wrong)


def test_simulated_sensor_reads_what_it_simulates():
    from boards.unix import Board

    config = settings.complete({
        "connection_string": "HostName=h;DeviceId=d;SharedAccessKey=k",
        "simulation": {"celsius": 40, "swing": 0, "noise": 0},
    })
    reading = thermistor.reading(Board(config).read_adc(), config["thermistor"])
    near(reading["temperature"], 40, 0.01)


def test_time_counts_from_1970():
    from boards import common

    # Some ports count from 2000; either way now is between 2020 and 2100.
    assert 1577836800 < common.unix_time() < 4102444800
    assert len(common.timestamp()) == 20
