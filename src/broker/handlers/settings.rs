//! The configuration over the wire: 26 GET_BROKER_CONFIG, 25 UPDATE_BROKER_CONFIG.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor and Configuration of 5.3.3. What is changed here is a record of the catalog
//! and stronger than broker.conf, which is the operator's; Apache writes its whole configuration over that
//! file.

use std::collections::BTreeMap;

use proto::code::response;
use proto::names::perm;
use runtime::clock::Now;

use super::super::copies::HomeCopy;
use super::super::dispatch::{Handled, Stop, answer_body_with};
use super::super::settings::SettingRefused;
use super::super::{Asker, Broker, Refusal};
use super::form;
use crate::config::file::parse;
use crate::net::outbox::Outboxes;

/// Keys that nobody may change over the wire (`BrokerConfig.configBlackList` and what
/// `AdminBrokerProcessor.initConfigBlackList` adds).
const FORBIDDEN: [&str; 3] = ["brokerConfigPath", "configBlackList", "rocketmqHome"];

impl Broker {
    pub(in crate::broker) fn broker_config(
        &mut self,
        asker: &Asker,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let mut all: BTreeMap<&str, &str> =
            self.configured.shown.iter().map(|(key, value)| (*key, value.as_str())).collect();
        all.extend(self.catalog.settings().filter(|(key, _)| self.settings.can_change(key)));
        let text: String = all.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let mut version = Vec::new();
        self.catalog.topics_version().write(&mut version);
        let version = String::from_utf8_lossy(&version);
        let ext = [("version", &*version)];
        answer_body_with(asker, Some(&ext), text.as_bytes(), outboxes)
    }

    pub(in crate::broker) fn update_broker_config(
        &mut self,
        now: Now,
        asker: &Asker,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let changes = self.asked_changes(body)?;
        if changes.is_empty() {
            return self.answer_unchanged(asker, form::PLAIN, outboxes);
        }
        let text = |it: &BTreeMap<String, String>| {
            it.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
        };
        let shown = text(&changes);
        if changes.get("autoCreateTopicEnable").is_some_and(|value| value == "true") {
            self.ensure_auto_create_topic(now)?;
        }
        self.change_settings(now, asker, &changes)?;
        tracing::info!(peer = %asker.peer, changes = shown, "the configuration is changed, stronger than broker.conf from now on");
        Ok(())
    }

    /// What a text of properties changes; nothing of it, if one of its keys or values is not taken.
    fn asked_changes(&self, body: &[u8]) -> Result<BTreeMap<String, String>, Stop> {
        let (entries, malformed) = parse(body);
        if let Some((line, reason)) = malformed.first() {
            let remark = format!("string2Properties error: line {line}: {reason}");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        }
        if entries.iter().any(|entry| FORBIDDEN.contains(&entry.key.as_str())) {
            let remark = "Can not update config in black list.";
            return Err(Refusal::new(response::NO_PERMISSION, remark).into());
        }
        let mut tried = self.settings.clone();
        let mut changes = BTreeMap::new();
        for entry in entries {
            match tried.change(&entry.key, &entry.value) {
                Ok(value) => _ = changes.insert(entry.key, value),
                // A tool may send the whole configuration back with one line changed.
                Err(SettingRefused::Fixed) if self.has_setting(&entry.key, &entry.value) => {}
                Err(refused) => {
                    let key: String = entry.key.chars().take(64).collect();
                    let remark = format!("{key} is not changed, nor is anything else: {refused}");
                    return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
                }
            }
        }
        changes.retain(|key, value| !self.has_setting(key, value));
        Ok(changes)
    }

    /// Whether a key has a value already.
    fn has_setting(&self, key: &str, value: &str) -> bool {
        let set = self.catalog.settings().find(|(set, _)| *set == key);
        let set = set.filter(|(key, _)| self.settings.can_change(key)).map(|(_, value)| value);
        set.or_else(|| self.configured.shown.get(key).map(String::as_str)) == Some(value)
    }

    fn change_settings(
        &mut self,
        now: Now,
        asker: &Asker,
        changes: &BTreeMap<String, String>,
    ) -> Result<(), Stop> {
        self.catalog_room()?;
        let permission = self.settings.permission;
        let mut payload = std::mem::take(&mut self.scratch.payload);
        let changes = changes.iter().map(|(key, value)| {
            // As it is configured: nothing needs to be stronger.
            let is_configured = self.configured.shown.get(key.as_str()) == Some(value);
            (key.as_str(), (!is_configured).then_some(value.as_str()))
        });
        self.catalog.set(now.wall_ms, changes, &mut payload);
        self.settings = self.configured.with(&self.catalog);
        // Told with the permissions of all topics, which are no more than the broker's.
        let is_told = permission != self.settings.permission;
        let form = if is_told { form::ANNOUNCED } else { form::PLAIN };
        if is_told {
            self.announcements.all_changed();
        }
        let ticket = (!asker.is_oneway).then(|| asker.ticket(form));
        let appended = self.shards[0].append_catalog(0, &payload, ticket);
        appended.expect("there was room for more");
        self.copy_catalog(0, &payload);
        if is_told && !perm::readable(self.settings.permission) {
            self.share(HomeCopy::MayNotRead(None));
        }
        self.scratch.payload = payload;
        Ok(())
    }
}
