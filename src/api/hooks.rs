//! What webhooks were told, and telling it again: for administrators.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::answer::{ApiError, json_answer, moment};
use crate::api::own::number;
use crate::api::query::Paging;
use crate::api::{Answered, Call};
use crate::domain::grant::UnixTime;
use crate::issuer::Capacity;
use crate::issuer::draft::FieldError;
use crate::store::deliveries::{DeliveryQuery, DeliveryRow, DeliveryState};

impl Call<'_> {
    /// Below `/webhooks/deliveries`.
    pub(super) async fn deliveries(&self, rest: &[&str]) -> Answered {
        self.administers()?;
        let reads = matches!(*self.request.method, Method::GET | Method::HEAD);
        match *rest {
            [] if reads => self.list_deliveries().await,
            [id] if reads => {
                let id = number(id)?;
                let found = self.api.issuer.store.read(move |reads| reads.delivery(id)).await?;
                let found = found.ok_or(ApiError::NotFound)?;
                let mut shown = shown(&found);
                if let Some(shown) = shown.as_object_mut() {
                    let payload: Value = serde_json::from_str(&found.payload).unwrap_or_default();
                    shown.insert("payload".to_owned(), payload);
                }
                Ok(json_answer(StatusCode::OK, &shown))
            }
            [id, "attempts"] if self.request.method == Method::POST => {
                let setting = self.setting_as(Capacity::Administrator);
                let again = self.api.issuer.deliver_again(setting, number(id)?).await?;
                Ok(json_answer(StatusCode::ACCEPTED, &shown(&again)))
            }
            _ => Err(ApiError::NotFound),
        }
    }

    async fn list_deliveries(&self) -> Answered {
        let paging = Paging::read(self.request.target)?;
        let mut query = DeliveryQuery {
            skip: (paging.page - 1) * paging.per_page,
            limit: paging.per_page,
            ..DeliveryQuery::default()
        };
        for (name, value) in self.request.target.query_fields() {
            match &*name {
                "hook" => query.hook = Some(value.into_owned()),
                "state" => {
                    let unknown =
                        || FieldError::invalid("state", "expected `pending`, `delivered` or `failed`");
                    let state = DeliveryState::parse(&value);
                    query.state = Some(state.ok_or_else(|| ApiError::Invalid(vec![unknown()]))?);
                }
                _ => {}
            }
        }
        let page = self.api.issuer.store.read(move |reads| reads.deliveries(&query)).await?;
        let entries: Vec<_> = page.entries.iter().map(shown).collect();
        Ok(self.paged(json_answer(StatusCode::OK, &entries), paging, page.total))
    }
}

/// A delivery without its payload.
fn shown(delivery: &DeliveryRow) -> Value {
    let due = UnixTime(delivery.due_at.div_euclid(1000));
    json!({
        "id": delivery.id,
        "guid": delivery.guid,
        "hook": delivery.hook,
        "event": delivery.event,
        "action": delivery.action,
        "state": delivery.state.as_str(),
        "created_at": moment(delivery.created_at),
        "attempts": delivery.attempts,
        "last_attempt_at": delivery.attempted_at.map(moment),
        "next_attempt_at": (delivery.state == DeliveryState::Pending).then(|| moment(due)),
        "status_code": delivery.status,
        "error": delivery.error,
    })
}
