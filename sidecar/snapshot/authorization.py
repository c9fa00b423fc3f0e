"""Who may call: Consul's intentions and the `allow` of a service's document, as lists whose first match decides."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from sidecar.config.model.allow import ANY, Allow
from sidecar.config.model.path import canonical
from sidecar.config.model.value_match import ValueMatch
from sidecar.intentions import FieldTest, Intention, Intentions, Permission
from sidecar.snapshot.cluster import origin, tls_mode
from sidecar.snapshot.scope import path_match
from sidecar.snapshot.tcp import is_tcp
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World

# What Go's url.PathEscape leaves in a SPIFFE id beside letters, digits and `-_.~`.
_UNESCAPED = "$&+=:@"


def authorization(world: World, service: str) -> wire.Authorization | None:
    """Of the callers of a service; without rules all who have a name. None: nobody has one."""
    if tls_mode(world, service) == "disabled":
        return None
    about_requests = not is_tcp(world.service(service))
    rules, candidates = [], []
    if world.intentions is not None:
        rules.append(_of_intentions(world.intentions, about_requests=about_requests))
    allow = world.service(service).allow
    if allow is not None:
        rules.append(_of_document(world, service, "allow", allow))
    candidate = world.service(service).allow_candidate
    if candidate is not None:
        candidates.append(_of_document(world, service, "allow_candidate", candidate))
    return wire.Authorization(trust_domain=world.trust_domain, rule_sets=rules, candidates=candidates)


def is_open(world: World, service: str) -> bool:
    """Whether nothing is written by which anybody would be refused, or callers need not prove their names."""
    return tls_mode(world, service) != "mutual" or _lacks_rules(world, service)


def summary(world: World, service: str) -> str:
    """What decides who may call, for people."""
    mode = tls_mode(world, service)
    if mode == "disabled":
        return f"everybody may call {service}: without TLS (tls: disabled) nobody proves a name"
    rules = _summary_of_rules(world, service)
    if mode == "permissive":
        return f"everybody may call {service} without TLS (tls: permissive); with TLS: {rules}"
    return rules


def _lacks_rules(world: World, service: str) -> bool:
    intentions = world.intentions
    if world.service(service).allow is not None:
        return False
    return intentions is None or (intentions.default_allow and not intentions.found)


def _summary_of_rules(world: World, service: str) -> str:
    if _lacks_rules(world, service):
        return f"every verified peer of the mesh may call {service}: there is no rule (intentions, or `allow`)"
    told = []
    if world.intentions is not None:
        count, default = len(world.intentions.found), _word(world.intentions.default_allow)
        told.append(f"{count} intention{'' if count == 1 else 's'}, by default {default}")
    if (allow := world.service(service).allow) is not None:
        told.append(f"{len(allow)} rule{'' if len(allow) == 1 else 's'} of `allow`")
    return "; ".join(told)


def _of_intentions(intentions: Intentions, *, about_requests: bool) -> wire.RuleSet:
    default = _verdict(intentions.default_allow, f"the default intention policy, {_word(intentions.default_allow)}")
    rules = [
        rule
        for intention in intentions.found
        for rule in _of_intention(intention, intentions.default_allow, about_requests=about_requests)
    ]
    return wire.RuleSet(rules=rules, otherwise=default)


def _of_intention(intention: Intention, default_allow: bool, *, about_requests: bool) -> Iterator[wire.Rule]:
    """Its permissions in their order, and behind them what holds for all other requests: not the next intention."""
    source = _source(intention.source)
    if intention.providers:
        yield _rule(source, _verdict(False, f"{intention}: {_token(intention.providers)}"))
    elif intention.allow is not None:
        yield _rule(source, _verdict(intention.allow, str(intention)))
    elif not about_requests:
        # As Consul has it: who asks for particulars of requests allows no connection that nobody reads.
        why = f"{intention}: its permissions are about requests, and the service is of protocol tcp"
        yield _rule(source, _verdict(False, why))
    else:
        for number, permission in enumerate(intention.permissions, 1):
            by = f"{intention}, permission {number}"
            if permission.providers:
                verdict = _verdict(False, f"{by}: {_token(permission.providers)}")
            else:
                verdict = _verdict(permission.allow, by)
            yield _rule(source, verdict, _condition(permission))
        rest = f"{intention}: no permission takes the request, and the default intention policy is"
        yield _rule(source, _verdict(default_allow, f"{rest} {_word(default_allow)}"))


def _of_document(world: World, service: str, field: str, allow: tuple[Allow, ...]) -> wire.RuleSet:
    rules = []
    for index, rule in enumerate(allow):
        place = origin(world, service, field, index)
        verdict = _verdict(True, f"{field} at {place.place if place else service}")
        rules.append(_rule(_source(rule.source), verdict, _asked(rule) if rule.is_about_requests else None))
    document = origin(world, service)
    index_of_key = f" (index {document.index})" if document and document.index else ""
    nobody = f"no rule of `{field}` in {document.place if document else service}{index_of_key} takes it"
    return wire.RuleSet(rules=rules, otherwise=_verdict(False, nobody))


def _source(name: str) -> str:
    return "" if name == ANY else quote(name, safe=_UNESCAPED)


def _rule(source: str, verdict: wire.Verdict, condition: wire.Condition | None = None) -> wire.Rule:
    return wire.Rule(source=source, condition=condition, verdict=verdict)


def _verdict(allow: bool, by: str) -> wire.Verdict:
    return wire.Verdict(allow=allow, by=by)


def _word(allow: bool) -> str:
    return "allow" if allow else "deny"


def _token(providers: tuple[str, ...]) -> str:
    names = ", ".join(providers)
    return f"it asks for a JSON Web Token of {names}, which sidecars do not verify yet"


def _condition(permission: Permission) -> wire.Condition:
    path = None
    if permission.path is not None:
        kind, text = permission.path
        path = {
            "exact": wire.PathMatch(exact=canonical(text)),
            "prefix": wire.PathMatch(begins=canonical(text)),
            "regex": wire.PathMatch(regex=text),
        }[kind]
    return wire.Condition(path=path, methods=permission.methods, headers=map(_test, permission.headers))


def _test(test: FieldTest) -> wire.FieldTest:
    made = wire.FieldTest(name=test.name, invert=test.invert, ignore_case=test.ignore_case)
    if test.kind == "present":
        made.present = True
    else:
        setattr(made, test.kind, test.value)
    return made


def _asked(rule: Allow) -> wire.Condition:
    path = None
    if rule.path is not None:
        path = path_match(rule.path)
    headers = [_field(name, match) for name, match in rule.headers.items()]
    return wire.Condition(path=path, methods=rule.methods or (), headers=headers)


def _field(name: str, match: ValueMatch) -> wire.FieldTest:
    kind, value = match.asked
    if kind == "present":
        return wire.FieldTest(name=name, present=True, invert=not value)
    made = wire.FieldTest(name=name)
    setattr(made, kind, value)
    return made
