//! The order and emptiness rules of the Go types a SidecarSet container is made of (core/v1 as of 1.32; fields
//! that later versions added stand where those put them, and are hashed only where they are set).
use Kind::{Any, Bool, Int, List, Map, Pointer, Quantity, Struct, Text};

pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub omitted_when_empty: bool,
}

pub(super) enum Kind {
    Text,
    Int,
    Bool,
    /// Written as it is (int-or-string).
    Any,
    Quantity,
    /// Present means written, whatever its value.
    Pointer(&'static Kind),
    List(&'static Kind),
    Map(&'static Kind),
    /// A struct by value is always written.
    Struct(&'static [Field]),
}

const fn opt(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        omitted_when_empty: true,
    }
}

const fn req(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        omitted_when_empty: false,
    }
}

pub(super) const CONTAINER: Kind = Struct(&[
    req("name", Text),
    opt("image", Text),
    opt("command", List(&Text)),
    opt("args", List(&Text)),
    opt("workingDir", Text),
    opt("ports", List(&PORT)),
    opt("envFrom", List(&ENV_FROM)),
    opt("env", List(&ENV)),
    opt("resources", RESOURCES),
    opt(
        "resizePolicy",
        List(&Struct(&[req("resourceName", Text), req("restartPolicy", Text)])),
    ),
    opt("restartPolicy", Pointer(&Text)),
    opt("restartPolicyRules", List(&Any)),
    opt("volumeMounts", List(&MOUNT)),
    opt(
        "volumeDevices",
        List(&Struct(&[req("name", Text), req("devicePath", Text)])),
    ),
    opt("livenessProbe", Pointer(&PROBE)),
    opt("readinessProbe", Pointer(&PROBE)),
    opt("startupProbe", Pointer(&PROBE)),
    opt("lifecycle", Pointer(&LIFECYCLE)),
    opt("terminationMessagePath", Text),
    opt("terminationMessagePolicy", Text),
    opt("imagePullPolicy", Text),
    opt("securityContext", Pointer(&SECURITY)),
    opt("stdin", Bool),
    opt("stdinOnce", Bool),
    opt("tty", Bool),
    opt("podInjectPolicy", Text),
    opt(
        "upgradeStrategy",
        Struct(&[opt("upgradeType", Text), opt("hotUpgradeEmptyImage", Text)]),
    ),
    opt("shareVolumePolicy", SHARE),
    opt("shareVolumeDevicePolicy", Pointer(&SHARE)),
    opt("transferEnv", List(&TRANSFER)),
    opt("resourcesPolicy", Pointer(&RESOURCES_POLICY)),
]);

const PORT: Kind = Struct(&[
    opt("name", Text),
    opt("hostPort", Int),
    req("containerPort", Int),
    opt("protocol", Text),
    opt("hostIP", Text),
]);

const OPTIONAL_SOURCE: Kind = Struct(&[opt("name", Text), opt("optional", Pointer(&Bool))]);

const ENV_FROM: Kind = Struct(&[
    opt("prefix", Text),
    opt("configMapRef", Pointer(&OPTIONAL_SOURCE)),
    opt("secretRef", Pointer(&OPTIONAL_SOURCE)),
]);

const KEY_SOURCE: Kind = Struct(&[
    opt("name", Text),
    req("key", Text),
    opt("optional", Pointer(&Bool)),
]);
const FIELD_REF: Kind = Struct(&[opt("apiVersion", Text), req("fieldPath", Text)]);

const ENV: Kind = Struct(&[
    req("name", Text),
    opt("value", Text),
    opt(
        "valueFrom",
        Pointer(&Struct(&[
            opt("fieldRef", Pointer(&FIELD_REF)),
            opt(
                "resourceFieldRef",
                Pointer(&Struct(&[
                    opt("containerName", Text),
                    req("resource", Text),
                    opt("divisor", Quantity),
                ])),
            ),
            opt("configMapKeyRef", Pointer(&KEY_SOURCE)),
            opt("secretKeyRef", Pointer(&KEY_SOURCE)),
            opt("fileKeyRef", Pointer(&Any)),
        ])),
    ),
]);

const RESOURCES: Kind = Struct(&[
    opt("limits", Map(&Quantity)),
    opt("requests", Map(&Quantity)),
    opt(
        "claims",
        List(&Struct(&[req("name", Text), opt("request", Text)])),
    ),
]);

const MOUNT: Kind = Struct(&[
    req("name", Text),
    opt("readOnly", Bool),
    opt("recursiveReadOnly", Pointer(&Text)),
    req("mountPath", Text),
    opt("subPath", Text),
    opt("mountPropagation", Pointer(&Text)),
    opt("subPathExpr", Text),
]);

const EXEC: Field = opt("exec", Pointer(&Struct(&[opt("command", List(&Text))])));
const HTTP_GET: Field = opt(
    "httpGet",
    Pointer(&Struct(&[
        opt("path", Text),
        req("port", Any),
        opt("host", Text),
        opt("scheme", Text),
        opt(
            "httpHeaders",
            List(&Struct(&[req("name", Text), req("value", Text)])),
        ),
    ])),
);
const TCP_SOCKET: Field = opt(
    "tcpSocket",
    Pointer(&Struct(&[req("port", Any), opt("host", Text)])),
);

const PROBE: Kind = Struct(&[
    EXEC,
    HTTP_GET,
    TCP_SOCKET,
    opt(
        "grpc",
        Pointer(&Struct(&[req("port", Int), req("service", Pointer(&Text))])),
    ),
    opt("initialDelaySeconds", Int),
    opt("timeoutSeconds", Int),
    opt("periodSeconds", Int),
    opt("successThreshold", Int),
    opt("failureThreshold", Int),
    opt("terminationGracePeriodSeconds", Pointer(&Int)),
]);

const HOOK: Kind = Struct(&[
    EXEC,
    HTTP_GET,
    TCP_SOCKET,
    opt("sleep", Pointer(&Struct(&[req("seconds", Int)]))),
]);

const LIFECYCLE: Kind = Struct(&[
    opt("postStart", Pointer(&HOOK)),
    opt("preStop", Pointer(&HOOK)),
    opt("stopSignal", Pointer(&Text)),
]);

const PROFILE: Kind = Struct(&[req("type", Text), opt("localhostProfile", Pointer(&Text))]);

const SECURITY: Kind = Struct(&[
    opt(
        "capabilities",
        Pointer(&Struct(&[opt("add", List(&Text)), opt("drop", List(&Text))])),
    ),
    opt("privileged", Pointer(&Bool)),
    opt(
        "seLinuxOptions",
        Pointer(&Struct(&[
            opt("user", Text),
            opt("role", Text),
            opt("type", Text),
            opt("level", Text),
        ])),
    ),
    opt(
        "windowsOptions",
        Pointer(&Struct(&[
            opt("gmsaCredentialSpecName", Pointer(&Text)),
            opt("gmsaCredentialSpec", Pointer(&Text)),
            opt("runAsUserName", Pointer(&Text)),
            opt("hostProcess", Pointer(&Bool)),
        ])),
    ),
    opt("runAsUser", Pointer(&Int)),
    opt("runAsGroup", Pointer(&Int)),
    opt("runAsNonRoot", Pointer(&Bool)),
    opt("readOnlyRootFilesystem", Pointer(&Bool)),
    opt("allowPrivilegeEscalation", Pointer(&Bool)),
    opt("procMount", Pointer(&Text)),
    opt("seccompProfile", Pointer(&PROFILE)),
    opt("appArmorProfile", Pointer(&PROFILE)),
]);

const SHARE: Kind = Struct(&[opt("type", Text)]);

const TRANSFER: Kind = Struct(&[
    opt("sourceContainerName", Text),
    opt(
        "sourceContainerNameFrom",
        Pointer(&Struct(&[opt("fieldRef", Pointer(&FIELD_REF))])),
    ),
    opt("envName", Text),
    opt("envNames", List(&Text)),
]);

const EXPRS: Kind = Struct(&[opt("cpu", Text), opt("memory", Text)]);

const RESOURCES_POLICY: Kind = Struct(&[
    req("targetContainersMode", Text),
    req("targetContainersNameRegex", Text),
    req(
        "resourcesExpr",
        Struct(&[opt("limits", Pointer(&EXPRS)), opt("requests", Pointer(&EXPRS))]),
    ),
]);
