//! Bearer tokens: JSON Web Tokens signed with the server's own key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pki::Pki;
use crate::server::ApiServer;
use crate::user::UserInfo;

pub const ISSUER: &str = "https://kubernetes.default.svc";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    pub aud: Vec<String>,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    /// Groups of a plain user; service accounts have theirs by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(rename = "kubernetes.io", default, skip_serializing_if = "Value::is_null")]
    pub kubernetes: Value,
    #[serde(default)]
    pub jti: String,
}

impl Claims {
    pub fn service_account(
        namespace: &str,
        name: &str,
        uid: &str,
        audiences: &[String],
        now: i64,
        seconds: i64,
    ) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            aud: audiences.to_vec(),
            iat: now,
            nbf: now,
            exp: now + seconds,
            groups: Vec::new(),
            kubernetes: json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}),
            jti: String::new(),
        }
    }

    fn user(&self) -> UserInfo {
        let parts: Vec<&str> = self.sub.split(':').collect();
        if let ["system", "serviceaccount", namespace, name] = parts.as_slice() {
            let uid = self
                .kubernetes
                .pointer("/serviceaccount/uid")
                .and_then(Value::as_str)
                .unwrap_or_default();
            return UserInfo::service_account(namespace, name, uid);
        }
        let groups: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        UserInfo::new(self.sub.clone(), &groups)
    }
}

impl Pki {
    pub fn sign_token(&self, claims: &Claims, id: &str) -> String {
        let claims = Claims {
            jti: id.to_owned(),
            ..claims.clone()
        };
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"tidegate"}"#);
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let signature = self.signer().sign(format!("{head}.{body}").as_bytes());
        format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn verify_token(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, body) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&ED25519, self.signer().public_key().as_ref().to_vec());
        key.verify(signed.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }
}

impl ApiServer {
    /// A bearer token for a user, good for ten years.
    pub fn token(&self, user: &str, groups: &[&str]) -> String {
        let now = self.now().as_second();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user.to_owned(),
            aud: vec![ISSUER.to_owned()],
            iat: now,
            nbf: now,
            exp: now + 10 * 365 * 86_400,
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            kubernetes: Value::Null,
            jti: String::new(),
        };
        self.inner.pki.sign_token(&claims, &self.new_uid())
    }

    /// Who a bearer token speaks for; a service account must still be the one it was made for.
    pub(crate) fn authenticate_token(&self, token: &str) -> Option<UserInfo> {
        let claims = self.inner.pki.verify_token(token)?;
        let now = self.now().as_second();
        if now < claims.nbf || now >= claims.exp || !claims.aud.iter().any(|a| a == ISSUER) {
            return None;
        }
        let account = &claims.kubernetes;
        if let Some(name) = account.pointer("/serviceaccount/name").and_then(Value::as_str) {
            let namespace = account["namespace"].as_str().unwrap_or_default();
            let key = crate::store::object_key(Some(namespace), name);
            let found = self
                .inner
                .store
                .get(&crate::catalog::StorageKey::new("", "serviceaccounts"), &key)?;
            if account.pointer("/serviceaccount/uid").and_then(Value::as_str) != Some(&*found.uid) {
                return None;
            }
        }
        Some(claims.user())
    }
}
