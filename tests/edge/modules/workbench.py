"""A module on the stock Python SDK that does what a test asks it by direct methods.

| method | payload | does, and answers |
| --- | --- | --- |
| send | {"output", "body", "id", "properties"} | sends a message to an output |
| received | – | {"messages": what came to inputs} |
| twin | – | the whole twin |
| changes | – | {"patches": patches of desired properties} |
| report | a patch | reports properties |
| invoke | {"module", "method", "payload"} | calls a method of another module through the edge hub; {"status", "payload"} |

Anything else answers 200 with what it was given.
"""

import json
import os
import sys
import threading

from azure.iot.device import IoTHubModuleClient, Message, MethodResponse


class Workbench:
    def __init__(self, client):
        self.client = client
        self.messages = []
        self.patches = []

    def on_message(self, message):
        self.messages.append({
            "input": message.input_name,
            "body": json.loads(message.data),
            "id": message.message_id,
            "properties": dict(message.custom_properties),
        })

    def send(self, wish):
        message = Message(json.dumps(wish["body"]), message_id=wish["id"], content_encoding="utf-8", content_type="application/json")
        message.custom_properties.update(wish["properties"])
        self.client.send_message_to_output(message, wish["output"])

    def invoke(self, wish):
        parameters = {"methodName": wish["method"], "payload": wish["payload"]}
        parameters |= {"responseTimeoutInSeconds": 20, "connectTimeoutInSeconds": 20}
        return self.client.invoke_method(parameters, os.environ["IOTEDGE_DEVICEID"], wish["module"])

    def answer(self, name, payload):
        match name:
            case "send":
                return self.send(payload)
            case "received":
                return {"messages": self.messages}
            case "twin":
                return self.client.get_twin()
            case "changes":
                return {"patches": self.patches}
            case "report":
                return self.client.patch_twin_reported_properties(payload)
            case "invoke":
                return self.invoke(payload)
            case _:
                return {"method": name, "got": payload}

    def on_method(self, request):
        try:
            status, payload = 200, self.answer(request.name, request.payload)
        except Exception as error:  # the test shall read why
            status, payload = 500, {"error": repr(error)}
        self.client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))


def main():
    client = IoTHubModuleClient.create_from_edge_environment(websockets="websockets" in sys.argv)
    client.connect()
    bench = Workbench(client)
    client.on_message_received = bench.on_message
    client.on_twin_desired_properties_patch_received = bench.patches.append
    client.on_method_request_received = bench.on_method
    threading.Event().wait()


if __name__ == "__main__":
    main()
