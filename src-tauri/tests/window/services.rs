//! Stand-ins for a desktop's services on the test's own bus: one that shows notifications, one that holds tray icons.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use zbus::{blocking::Connection, names::BusName, zvariant::OwnedValue};

const NOTIFICATIONS: &str = "/org/freedesktop/Notifications";

/// A notification as it was sent.
#[derive(Clone, Debug)]
pub struct Shown {
    pub id: u32,
    pub title: String,
    pub body: String,
    pub actions: Vec<String>,
}

struct Notifications(Arc<Mutex<Vec<Shown>>>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Notifications {
    #[expect(clippy::too_many_arguments, reason = "the specification's call")]
    fn notify(
        &self,
        _program: String,
        _replaces: u32,
        _icon: String,
        title: String,
        body: String,
        actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _timeout_ms: i32,
    ) -> u32 {
        let mut shown = self.0.lock().unwrap();
        let id = shown.len() as u32 + 1;
        shown.push(Shown { id, title, body, actions });
        id
    }

    fn close_notification(&self, _id: u32) {}

    fn get_capabilities(&self) -> Vec<String> {
        vec!["body".into(), "actions".into()]
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        ("test".into(), "test".into(), "1".into(), "1.2".into())
    }
}

/// The service that shows notifications.
pub struct NotificationServer {
    bus: Connection,
    shown: Arc<Mutex<Vec<Shown>>>,
}

impl NotificationServer {
    pub fn start(bus: &str) -> Self {
        let shown: Arc<Mutex<Vec<Shown>>> = Arc::default();
        let bus = zbus::blocking::connection::Builder::address(bus)
            .and_then(|b| b.name("org.freedesktop.Notifications"))
            .and_then(|b| b.serve_at(NOTIFICATIONS, Notifications(Arc::clone(&shown))))
            .and_then(zbus::blocking::connection::Builder::build)
            .unwrap();
        Self { bus, shown }
    }

    pub fn shown(&self) -> Vec<Shown> {
        self.shown.lock().unwrap().clone()
    }

    /// As a click on the notification.
    pub fn click(&self, notification: &Shown) {
        let to_all = None::<BusName<'_>>;
        let said = (notification.id, "default");
        self.bus.emit_signal(to_all, NOTIFICATIONS, "org.freedesktop.Notifications", "ActionInvoked", &said).unwrap();
    }
}

struct Watcher(Arc<Mutex<Vec<(String, String)>>>);

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(&self, item: String, #[zbus(header)] header: zbus::message::Header<'_>) {
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        self.0.lock().unwrap().push((sender, item));
    }

    fn register_status_notifier_host(&self, _host: String) {}

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(sender, item)| format!("{sender}{item}")).collect()
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

/// An entry of a menu as the bus carries it: number, properties, entries below it.
type MenuItem = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

/// The service that holds tray icons.
pub struct Tray {
    bus: Connection,
    items: Arc<Mutex<Vec<(String, String)>>>,
}

impl Tray {
    pub fn start(bus: &str) -> Self {
        let items: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let bus = zbus::blocking::connection::Builder::address(bus)
            .and_then(|b| b.name("org.kde.StatusNotifierWatcher"))
            .and_then(|b| b.serve_at("/StatusNotifierWatcher", Watcher(Arc::clone(&items))))
            .and_then(zbus::blocking::connection::Builder::build)
            .unwrap();
        Self { bus, items }
    }

    /// The whole menu of the first icon as text, labels and all; none while there is no icon.
    pub fn menu(&self) -> Option<String> {
        let (sender, item) = self.items.lock().unwrap().first().cloned()?;
        let name = BusName::try_from(sender.as_str()).ok()?;
        let menu: OwnedValue = self
            .bus
            .call_method(
                Some(name.clone()),
                item.as_str(),
                Some("org.freedesktop.DBus.Properties"),
                "Get",
                &("org.kde.StatusNotifierItem", "Menu"),
            )
            .ok()?
            .body()
            .deserialize()
            .ok()?;
        let path = zbus::zvariant::OwnedObjectPath::try_from(menu).ok()?;
        let layout = self
            .bus
            .call_method(
                Some(name),
                path.as_str(),
                Some("com.canonical.dbusmenu"),
                "GetLayout",
                &(0_i32, -1_i32, Vec::<String>::new()),
            )
            .ok()?;
        let body = layout.body();
        let layout: (u32, MenuItem) = body.deserialize().ok()?;
        Some(format!("{layout:?}"))
    }
}
