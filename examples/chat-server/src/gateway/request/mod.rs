//! The requests: one table, one file for each family.

mod conversations;
mod cursor;
mod fields;
mod files;
mod members;
mod messages;
mod presence;
mod reading;

use std::collections::HashMap;
use std::sync::LazyLock;

use futures::future::BoxFuture;

use super::answer::Answer;
use super::dispatch::{Caller, parse};

/// A request: its name, and what it does.
pub(crate) struct Route {
    /// The event's name; also what it is counted under.
    pub(crate) name: &'static str,
    /// Whether it does not count against the socket's rate.
    pub(crate) free: bool,
    /// Reads the payload and answers.
    pub(crate) run: for<'a> fn(&'a Caller, &'a str) -> BoxFuture<'a, Answer>,
}

/// The request with this name.
pub(crate) fn find(name: &str) -> Option<&'static Route> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Route>> =
        LazyLock::new(|| ROUTES.iter().map(|route| (route.name, route)).collect());
    BY_NAME.get(name).copied()
}

macro_rules! routes {
    ($($free:ident $name:literal => $handler:path,)*) => {
        /// Every request.
        const ROUTES: &[Route] = &[$(Route {
            name: $name,
            free: routes!(@$free),
            run: |caller, payload| Box::pin(async move { $handler(caller, parse(payload)?).await }),
        },)*];
    };
    (@free) => { true };
    (@rated) => { false };
}

routes! {
    rated "sendMessage" => messages::send,
    rated "editMessage" => messages::edit,
    rated "deleteMessage" => messages::delete,
    rated "reactToMessage" => messages::react,
    rated "pinMessage" => messages::pin,
    rated "markMessageDelivered" => messages::mark_delivered,
    rated "markMessageRead" => messages::mark_read,
    rated "markUnread" => messages::mark_unread,
    rated "messageReaders" => messages::readers,

    rated "messages:fullload" => reading::full_load,
    rated "getMessages" => reading::full_load,
    rated "messages:quickload" => reading::quick_load,
    rated "messages:around" => reading::around,
    rated "catchUp" => reading::catch_up,
    rated "getThread" => reading::thread,
    rated "search" => reading::search,

    rated "getConversations" => conversations::list,
    rated "conversations:fullload" => conversations::list,
    rated "conversations:quickload" => conversations::quick_list,
    rated "getConversation" => conversations::get,
    rated "conversation:load" => conversations::get,
    rated "getGroupInfo" => conversations::get,
    rated "joinConversation" => conversations::get,
    rated "leaveConversation" => conversations::leave_view,
    rated "createGroup" => conversations::create_group,
    rated "createBroadcast" => conversations::create_broadcast,
    rated "updateConversation" => conversations::update,
    rated "archiveConversation" => conversations::archive,
    rated "muteConversation" => conversations::mute,
    rated "pinConversation" => conversations::pin,

    rated "addParticipant" => members::add,
    rated "removeParticipant" => members::remove,
    rated "leaveGroup" => members::leave,
    rated "leaveConversationPermanent" => members::leave,
    rated "joinGroup" => members::join,
    rated "setUserRole" => members::set_role,

    rated "typing" => presence::typing,
    rated "stopTyping" => presence::stop_typing,
    free "heartbeat" => presence::heartbeat,
    free "ping" => presence::heartbeat,
    rated "setStatus" => presence::set_status,
    rated "setPrivacy" => presence::set_privacy,
    rated "getConversationOnlineUsers" => presence::online_users,
    rated "subscribeToPresence" => presence::online_users,
    rated "unsubscribeFromPresence" => presence::online_users,
    rated "getConversationsWithPresence" => presence::online_counts,
    rated "getPresenceDashboard" => presence::dashboard,
    rated "authenticate" => presence::authenticate,

    rated "registerFile" => files::register,
    rated "downloadFile" => files::download,
    rated "deleteFile" => files::delete,
}
