"""Users and rules of ordinary topics take effect when the file of the configuration changes."""

import os
import subprocess

import command
from command import FAILED
from ironbrook import Dev, eventually

# The tests run in a network namespace of their own.
PORT = 18850
USER = """
[[topics.users]]
name = "{name}"
password_hash = "{hash}"
"""
RULE = """
[[topics.rules]]
filter = "{filter}"
"""


def url(user):
    return f"mqtt://{user}@127.0.0.1:{PORT}"


class Rules:
    """A hub whose configuration a test changes while it runs."""

    def __init__(self, folder):
        self.file = folder / "rules.toml"
        self.passwords = {}
        for name in ["one", "two"]:
            made = subprocess.run(
                [os.environ["IRONBROOK_BIN"], "mqtt", "passwd"], input=f"{name} secret\n", capture_output=True, text=True, check=True
            )
            self.passwords[name] = made.stdout.strip()
            (folder / name).write_text(f"{name} secret\n")
        self.folder = folder

    def text(self, users, filters):
        users = [USER.format(name=name, hash=self.passwords[name]) for name in users]
        rules = [RULE.format(filter=filter) for filter in filters]
        return f'[listen]\nmqtt_topics = "127.0.0.1:{PORT}"\n' + "".join(users + rules)

    def write(self, text):
        self.file.write_text(text)

    def publish(self, user, topic, status=0):
        password = ["--password-file", self.folder / user]
        message = ["--topic", topic, "--message", "x", "--qos", "1"]
        return command.run("mqtt", "pub", "--url", url(user), *password, *message, status=status)


def test_a_change_of_users_and_rules_takes_effect_at_once_and_a_wrong_file_changes_nothing(tmp_path):
    rules = Rules(tmp_path)
    rules.write(rules.text(["one", "two"], ["a/#", "b/#"]))
    hub = Dev(tmp_path, "--config", rules.file, "--no-thermistor", "--no-edge")
    hub.start()

    def read_anew(after):
        eventually(lambda: "users and rules of ordinary topics are read anew" in hub.log(after), what="the file is read")

    try:
        rules.publish("two", "b/x")
        subscribed = subprocess.Popen(
            [os.environ["IRONBROOK_BIN"], "mqtt", "sub", "--url", url("two"), "--topic", "a/#",
             "--password-file", str(tmp_path / "two")],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=command.environment(),
        )  # fmt: skip

        def heard():
            rules.publish("one", "a/mark")
            os.set_blocking(subscribed.stdout.fileno(), False)
            return subscribed.stdout.read(1)

        eventually(heard, what="the subscriber is there")

        # A user less and a rule less: who is connected is cut, and the other one may no longer what it might.
        mark = len(hub.log())
        rules.write(rules.text(["one"], ["a/#"]))
        read_anew(mark)
        assert subscribed.wait(60) == FAILED
        assert "not authorized" in subscribed.stderr.read().decode().lower()
        rules.publish("two", "a/x", status=FAILED)
        rules.publish("one", "a/x")
        _, refused = rules.publish("one", "b/x", status=FAILED)
        assert "not authorized" in refused.lower()

        # What cannot be read says so, without what may be secret in it, and the old rules stay.
        unhashed = rules.text(["two"], ["#"]).replace(rules.passwords["two"], "canary")
        for wrong in [rules.text(["two"], ["a/#/b"]), unhashed, "[topics]\nusers = 7\n"]:
            mark = len(hub.log())
            rules.write(wrong)
            eventually(lambda mark=mark: "stay as they were" in hub.log(mark), what="an error is told")
            assert "canary" not in hub.log(mark)
            rules.publish("one", "a/x")
            rules.publish("two", "a/x", status=FAILED)
        mark = len(hub.log())
        rules.file.unlink()
        eventually(lambda: "is gone" in hub.log(mark), what="an error is told")
        rules.publish("one", "a/x")

        # And a good one is in force again.
        mark = len(hub.log())
        rules.write(rules.text(["one", "two"], ["#"]))
        read_anew(mark)
        rules.publish("two", "b/x")
        assert "the configuration has other changes too" not in hub.log()
    finally:
        hub.stop()
