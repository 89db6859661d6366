// The same as workbench.py on the stock Node SDK; the argument names the transport: mqtt, mqttWs, amqp or amqpWs.

import { createRequire } from "node:module";

// The packages are those of the client tests.
const require = createRequire(new URL("../../clients/node/package.json", import.meta.url));
const { Message, ModuleClient } = require("azure-iot-device");
const { Mqtt, MqttWs } = require("azure-iot-device-mqtt");
const { Amqp, AmqpWs } = require("azure-iot-device-amqp");

const TRANSPORTS = { mqtt: Mqtt, mqttWs: MqttWs, amqp: Amqp, amqpWs: AmqpWs };
const METHODS = ["send", "received", "twin", "changes", "report", "invoke", "echo"];

const client = await ModuleClient.fromEnvironment(TRANSPORTS[process.argv[2]]);
const messages = [];
const patches = [];

const answers = {
  async send({ output, body, id, properties }) {
    const message = new Message(JSON.stringify(body));
    message.messageId = id;
    message.contentType = "application/json";
    message.contentEncoding = "utf-8";
    for (const [name, value] of Object.entries(properties)) message.properties.add(name, value);
    await client.sendOutputEvent(output, message);
    return null;
  },
  async received() {
    return { messages };
  },
  async twin() {
    const found = await client.getTwin();
    const { update, ...reported } = found.properties.reported;
    return { desired: found.properties.desired, reported };
  },
  async changes() {
    return { patches };
  },
  async report(patch) {
    await new Promise((resolve, reject) =>
      twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve())),
    );
    return null;
  },
  async invoke({ module, method, payload }) {
    const answer = await client.invokeMethod(process.env.IOTEDGE_DEVICEID, module, {
      methodName: method,
      payload,
      responseTimeoutInSeconds: 20,
      connectTimeoutInSeconds: 20,
    });
    const { status, payload: got } = answer.result ?? answer;
    return { status, payload: got };
  },
  async echo(payload) {
    return { method: "echo", got: payload };
  },
};

await client.open();
client.on("inputMessage", (input, message) => {
  messages.push({
    input,
    body: JSON.parse(message.getData().toString()),
    id: message.messageId,
    properties: Object.fromEntries(message.properties.propertyList.map(({ key, value }) => [key, value])),
  });
  client.complete(message, (error) => error && console.error("complete", error));
});
const twin = await client.getTwin();
twin.on("properties.desired", (patch) => patches.push(patch));
for (const name of METHODS) {
  client.onMethod(name, async (request, response) => {
    let answer;
    try {
      answer = [200, await answers[name](request.payload)];
    } catch (error) {
      answer = [500, { error: String(error) }];
    }
    response.send(...answer, (error) => error && console.error(name, error));
  });
}
