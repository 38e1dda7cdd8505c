//! What the service answers, and what it is sent: seed 002's fields.

use chat_core::clock::Timestamp;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{UserId, UserProfile};
use serde_json::{Map, Value};

use super::super::NOBODY;

/// The profiles of a batch: a list, or an object with one.
pub(super) fn many(body: Value) -> Option<Vec<Value>> {
    let list = match body {
        Value::Array(list) => list,
        Value::Object(mut object) => match object.remove("users").or_else(|| object.remove("data")) {
            Some(Value::Array(list)) => list,
            _ => return None,
        },
        _ => return None,
    };
    list.iter().all(|one| one.is_object() || one.is_null()).then_some(list)
}

/// One profile: an object, or one in an object.
pub(super) fn one(body: Value) -> Option<Value> {
    let Value::Object(mut object) = body else { return None };
    match object.remove("user").or_else(|| object.remove("data")) {
        Some(inner @ Value::Object(_)) => Some(inner),
        Some(_) => None,
        None => Some(Value::Object(object)),
    }
}

/// The body, if it is a JSON object.
pub(super) fn object(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(body).ok()
}

/// The profile of one of these users, if it is that of one and has a name.
pub(super) fn profile(one: &Value, users: &[UserId]) -> Option<UserProfile> {
    let text = |names: &[&str]| names.iter().find_map(|name| text_in(one.get(*name)?));
    let id = text(&["id", "userId", "_id"])?;
    let id = users.iter().find(|user| user.as_str() == id)?;
    let both = [text(&["prenom"]), text(&["nom"])].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let both = Some(both).filter(|name| !name.is_empty());
    let full_name = text(&["fullName"]).or(both).or_else(|| text(&["name"]))?;
    if full_name == NOBODY {
        return None;
    }
    Some(UserProfile {
        id: id.clone(),
        full_name,
        avatar: text(&["avatar", "profile_pic"]),
        matricule: text(&["matricule"]),
        ministere: text(&["ministere"]),
        sexe: text(&["sexe"]),
        updated_at: one.get("updatedAt").and_then(time_in).unwrap_or(Timestamp::EPOCH),
    })
}

/// Text that says something; a number is text, too.
fn text_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A time in milliseconds, or in ISO 8601.
fn time_in(value: &Value) -> Option<Timestamp> {
    let text = text_in(value)?;
    text.parse().map(Timestamp::from_millis).ok().or_else(|| text.parse().ok())
}

/// A change as the service reads it: what stays is not there, what is cleared is `null`.
pub(super) fn written(update: &ProfileUpdate) -> Value {
    let ProfileUpdate { full_name, avatar, matricule, ministere, sexe } = update;
    let mut fields = Map::new();
    if let Some(name) = full_name {
        fields.insert("fullName".to_owned(), name.as_str().into());
    }
    let others = [("avatar", avatar), ("matricule", matricule), ("ministere", ministere), ("sexe", sexe)];
    for (name, value) in others {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.clone().into());
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use std::slice;

    use serde_json::json;

    use super::*;

    fn user(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn profiles_of_several_services_are_read() {
        let (seven, other) = (user("7"), user("8"));
        let expected = |at| UserProfile {
            matricule: Some("12".to_owned()),
            ..UserProfile::new(seven.clone(), "Awa Ngo", Timestamp::from_millis(at))
        };
        let cases = [
            (
                json!({"id": "7", "fullName": "Awa Ngo", "matricule": "12", "updatedAt": "1736862000123"}),
                1_736_862_000_123,
            ),
            (
                json!({"id": 7, "prenom": "Awa", "nom": "Ngo", "matricule": 12, "updatedAt": 5, "avatar": ""}),
                5,
            ),
            (
                json!({"_id": "7", "name": " Awa Ngo ", "matricule": "12", "updatedAt": "1970-01-01T00:00:00.007Z"}),
                7,
            ),
            (
                json!({"userId": "7", "fullName": "Awa Ngo", "matricule": "12", "updatedAt": "never", "sexe": {}}),
                0,
            ),
        ];
        for (value, at) in cases {
            assert_eq!(profile(&value, &[other.clone(), seven.clone()]), Some(expected(at)), "{value}");
            assert_eq!(profile(&value, slice::from_ref(&other)), None, "nobody asked for it");
        }
        for nobody in
            [json!({"id": "7"}), json!({"id": "7", "fullName": NOBODY, "nom": null}), json!(null), json!({})]
        {
            assert_eq!(profile(&nobody, slice::from_ref(&seven)), None, "{nobody}");
        }
    }

    #[test]
    fn shapes_are_told_apart() {
        for good in
            [json!([]), json!([{}, null]), json!({"users": [], "missing": ["x"]}), json!({"data": [{}]})]
        {
            assert!(many(good.clone()).is_some(), "{good}");
        }
        for bad in
            [json!({}), json!(null), json!("x"), json!({"users": {}}), json!([1]), json!({"error": "x"})]
        {
            assert!(many(bad.clone()).is_none(), "{bad}");
        }
        assert_eq!(one(json!({"user": {"id": "7"}})), Some(json!({"id": "7"})));
        assert_eq!(one(json!({"id": "7"})), Some(json!({"id": "7"})));
        assert_eq!(one(json!([])), None);
    }

    #[test]
    fn what_stays_is_not_sent_and_what_is_cleared_is_null() {
        let update = ProfileUpdate {
            avatar: Some(None),
            sexe: Some(Some("F".to_owned())),
            ..ProfileUpdate::default()
        };
        assert_eq!(written(&update), json!({"avatar": null, "sexe": "F"}));
    }
}
