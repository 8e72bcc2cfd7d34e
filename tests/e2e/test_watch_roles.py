#!/usr/bin/python3
"""Who may watch what: the verb `watch`, its types and its prefix, by REST and by gRPC."""

import socket
import ssl

import grpc

import harness
import stubs
from harness import REST_TLS_PORT, equal, test, wait_for
from secured import Secured, by_token
from watching import FORMS, Cut, Ended, Stream, changes, watch_path

pb, pb_grpc = stubs.generate("proto", "podmirror/v1/cache.proto")

ROLES = """
[[role]]
name = "all"
allow = ["read", "write", "delete", "status", "metrics", "watch"]
[[role]]
name = "shop"
allow = ["watch"]
types = [1]
prefix = "shop/"
[[role]]
name = "blind"
allow = ["read", "write", "delete", "status", "metrics"]
"""
SUBJECTS = {"boss": "all", "shop": "shop", "blind": "blind"}


def set_rules(secured, subjects):
    secured.write("auth.toml", ROLES + "".join(
        f'[[subject]]\n{by_token(token)}\nroles = ["{role}"]\n'
        for token, role in subjects.items()))
    for token in SUBJECTS:
        expected = token if token in subjects else "token is not known"
        wait_for(lambda: expected in secured.who(token=token), 10, f"the rule of {token}")


def prepared(cluster, *args):
    secured = Secured(cluster, *args)
    set_rules(secured, SUBJECTS)
    return secured


def put(secured, type_, key, value=b"v"):
    equal(secured.ask("PUT", f"/v1/cache/{type_}/{key}", token="boss", body=value).status, 200)


def open_stream(secured, token, form=FORMS[0], **query):
    context = ssl.create_default_context(cafile=secured.authority.cert)
    link = socket.create_connection((secured.node.ip, REST_TLS_PORT), 10)
    headers = {"Accept": form, **({"Authorization": f"Bearer {token}"} if token else {})}
    return Stream(context.wrap_socket(link, server_hostname=secured.node.ip), watch_path(**query),
                  headers)


@test
def the_verb_is_needed(cluster):
    secured = prepared(cluster)
    put(secured, 1, "shop/a")
    for token, status, words in ((None, 401, ""), ("wrong", 401, ""),
                                 ("blind", 403, "watch"), ("boss", 200, None)):
        with open_stream(secured, token, initial="true") as stream:
            equal(stream.status, status, f"token {token}")
            if status == 200:
                equal(changes(stream.until("synced")), [("put", 1, "shop/a", "v")])
    refused = secured.ask("GET", "/v1/watch?type=1&prefix=shop/", token="blind")
    equal(refused.status, 403)
    assert "the verb watch on type 1" in refused.text, refused.text


@test
def types_and_the_prefix_bound_what_is_told(cluster):
    secured = prepared(cluster)
    seen = [(1, "shop/a"), (1, "shop/b")]
    unseen = [(1, "other"), (2, "shop/a"), (1, "shop"), (-1, "shop/a")]

    def write():
        for type_, key in unseen + seen:
            put(secured, type_, key)
            secured.ask("DELETE", f"/v1/cache/{type_}/{key}", token="boss")
            put(secured, type_, key)

    write()
    streams = [open_stream(secured, "shop", form, initial="true", **query) for form in FORMS
               for query in ({}, {"type": 1}, {"prefix": "shop/"}, {"prefix": "sh"})]
    for stream in streams:
        told = changes(stream.until("synced"))
        equal(sorted(change[1:3] for change in told), seen)
    write()
    for stream in streams:
        told = changes(stream.next() for _ in range(3 * len(seen)))
        equal({change[1:3] for change in told}, set(seen))
        stream.close()
    # The token of who may see more does not show it to who may not.
    with open_stream(secured, "boss", initial="true") as stream:
        since = stream.until("synced")[-1].id
    write()
    with open_stream(secured, "shop", since=since) as stream:
        equal({change[1:3] for change in changes(stream.until("synced"))}, set(seen))
    with open_stream(secured, "shop", type=2) as stream:
        equal(stream.status, 403)


@test
def rules_that_change_count_at_once(cluster):
    """Who may watch no more is told nothing of what comes then."""
    secured = prepared(cluster)
    for form in FORMS:
        set_rules(secured, SUBJECTS)
        with open_stream(secured, "shop", form) as stream:
            stream.until("synced")
            put(secured, 1, "shop/before")
            equal(changes([stream.next()]), [("put", 1, "shop/before", "v")])
            set_rules(secured, {"boss": "all"})
            put(secured, 1, "shop/after")
            set_rules(secured, SUBJECTS)
            put(secured, 1, "shop/again")
            try:
                told = changes([stream.next()])
                equal(told, [("put", 1, "shop/again", "v")])
            except (Ended, Cut):
                pass


@test
def grpc_is_under_the_same_roles(cluster):
    secured = prepared(cluster)
    put(secured, 1, "shop/a")
    put(secured, 1, "other")
    with secured.channel() as channel:
        cache = pb_grpc.CacheStub(channel)

        def told(token, **request):
            """The keys of the state, or the code and the text of a refusal."""
            metadata = [("authorization", f"Bearer {token}")] if token else []
            call = cache.Watch(pb.WatchRequest(initial=True, **request), metadata=metadata,
                               timeout=20)
            keys = []
            try:
                for answer in call:
                    keys += [event.entry.key for event in answer.events]
                    if not keys[-1]:
                        return sorted(keys[:-1])
            except grpc.RpcError as error:
                return error.code(), error.details()
            finally:
                call.cancel()

        equal(told("boss"), ["other", "shop/a"])
        equal(told("shop"), ["shop/a"])
        equal(told("shop", types=[1], prefix="sh"), ["shop/a"])
        for token in (None, "wrong"):
            equal(told(token)[0], grpc.StatusCode.UNAUTHENTICATED)
        code, text = told("blind")
        equal(code, grpc.StatusCode.PERMISSION_DENIED)
        assert "watch" in text, text
        equal(told("shop", types=[2])[0], grpc.StatusCode.PERMISSION_DENIED)


if __name__ == "__main__":
    harness.main()
