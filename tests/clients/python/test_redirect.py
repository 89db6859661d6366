"""The events endpoint as those find it who know a hub's connection string only, with uamqp, which the stock service client brings."""

import pytest
import uamqp
from azure.eventhub import EventHubConsumerClient

from ironbrook import parse, token


def test_amqp_22_the_hub_s_own_name_for_the_events_endpoint_leads_to_it(dev):
    parts = parse(dev["hub_connection_string"])
    host, policy, key = parts["HostName"], parts["SharedAccessKeyName"], parts["SharedAccessKey"]
    user = f"{policy}@sas.root.{host.split('.')[0]}"
    auth = uamqp.authentication.SASLPlain(host, user, token(host, key, policy=policy), verify=dev["ca_file"])
    client = uamqp.ReceiveClient(f"amqps://{host}/messages/events/$management", auth=auth, timeout=30_000)
    try:
        with pytest.raises(uamqp.errors.LinkRedirect) as told:
            client.receive_message_batch(max_batch_size=1)
    finally:
        client.close()
    redirect = told.value
    assert (redirect.hostname, redirect.port) == (host.encode(), 5671)
    entity = redirect.address.decode().removeprefix(f"amqps://{host}:5671/").removesuffix("/$management")
    text = f"Endpoint=sb://{host}/;SharedAccessKeyName={policy};SharedAccessKey={key};EntityPath={entity}"
    with EventHubConsumerClient.from_connection_string(text, "$Default", connection_verify=dev["ca_file"]) as reader:
        assert reader.get_eventhub_properties()["partition_ids"] == ["0", "1", "2", "3"]
