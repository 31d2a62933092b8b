//! Every annotation, label and environment variable of the SidecarSet wire, and our own additions.

/// On the SidecarSet, the pod (a JSON object by SidecarSet name) and its revisions.
pub const HASH: &str = "kruise.io/sidecarset-hash";
pub const HASH_WITHOUT_IMAGE: &str = "kruise.io/sidecarset-hash-without-image";
/// On the pod: names of the SidecarSets injected, sorted, comma-joined.
pub const INJECTED_LIST: &str = "kruise.io/sidecarset-injected-list";
/// On the pod: state of the last in-place update by SidecarSet name.
pub const INPLACE_UPDATE_STATE: &str = "kruise.io/sidecarset-inplace-update-state";
/// On the pod: `{"mesh":"mesh-1"}`, the working slot of each hot-upgrade container.
pub const WORKING_HOT_CONTAINER: &str = "kruise.io/sidecarset-working-hotupgrade-container";
/// Followed by the slot's name.
pub const VERSION_PREFIX: &str = "version.sidecarset.kruise.io/";
pub const VERSION_ALT_PREFIX: &str = "versionalt.sidecarset.kruise.io/";

/// Label of a revision: the SidecarSet it belongs to.
pub const REVISION_OWNER: &str = "kruise.io/sidecarset-name";
/// Label of a revision and of a v1alpha1 SidecarSet.
pub const CUSTOM_VERSION: &str = "apps.kruise.io/sidecarset-custom-version";
/// Label of a revision: the hash part of its name.
pub const REVISION_HASH: &str = "controller.kubernetes.io/hash";

/// Pod condition: whether the pod's sidecars can be upgraded in place.
pub const UPGRADABLE_CONDITION: &str = "SidecarSetUpgradable";

/// Environment of an injected container.
pub const ENV_INJECTED: &str = "IS_INJECTED";
pub const ENV_VERSION: &str = "SIDECARSET_VERSION";
pub const ENV_VERSION_ALT: &str = "SIDECARSET_VERSION_ALT";

/// Label every namespace carries with its own name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Ours, on the SidecarSet: `Fail` (default) or `Ignore`, what happens to its pods while no webhook answers.
pub const FAILURE_POLICY: &str = "tidegate.dev/failure-policy";
/// Ours, on a v1alpha1 read of a v1beta1 object whose namespaceSelector was written as `namespace`.
pub const FROM_NAMESPACE: &str = "tidegate.dev/converted-from-namespace";

/// Key of the patchPodMetadata whitelist in ConfigMap `kruise-configuration`.
pub const WHITELIST_KEY: &str = "SidecarSet_PatchPodMetadata_WhiteList";
pub const CONFIGURATION: &str = "kruise-configuration";
