//! The one error of the family: a stable [`Code`], what kind of failure it is, and whether it took effect.
//!
//! Three questions a caller asks, three answers an [`Error`] carries:
//! *what went wrong* ([`Error::code`], [`Error::kind`]), *did it take hold* ([`Error::effect`]) and
//! *may I try again* ([`Error::is_transient`]). Details hold ids and sizes, never message text.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of every port and service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// What kind of failure an [`Error`] is; programs branch on this, or on its [`Code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller sent something that can never be accepted.
    InvalidInput,
    /// Nobody is signed in, or the sign-in does not hold.
    Unauthenticated,
    /// The caller may not do this, or may not know whether it exists.
    Forbidden,
    /// The thing named does not exist.
    NotFound,
    /// The request contradicts the stored state.
    Conflict,
    /// Too much in too short a time; see [`Error::retry_after`].
    RateLimited,
    /// The backend cannot be reached or refuses work for now.
    Unavailable,
    /// No answer came in time.
    Timeout,
    /// Stored bytes could not be understood.
    Corrupt,
    /// The configuration is wrong.
    Config,
    /// The backend does not offer this.
    Unsupported,
    /// A defect.
    Internal,
}

/// What a caller may assume about a failed operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Effect {
    /// Nothing changed.
    #[default]
    None,
    /// It may or may not have happened: the reply was lost. Repeating is safe for every port of this family.
    Unknown,
}

/// A language of the built-in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Locale {
    /// English, the fallback.
    #[default]
    En,
    /// French.
    Fr,
    /// German.
    De,
    /// Italian.
    It,
}

impl Locale {
    /// All languages with a catalogue.
    pub const ALL: [Self; 4] = [Self::En, Self::Fr, Self::De, Self::It];

    /// Reads a language tag such as `fr`, `de-CH` or `it_IT`; anything unknown falls back to English.
    ///
    /// ```
    /// use chat_core::error::Locale;
    /// assert_eq!(Locale::from_tag("de-CH"), Locale::De);
    /// assert_eq!(Locale::from_tag("pt"), Locale::En);
    /// ```
    pub fn from_tag(tag: &str) -> Self {
        match tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "fr" => Self::Fr,
            "de" => Self::De,
            "it" => Self::It,
            _ => Self::En,
        }
    }
}

macro_rules! codes {
    ($($name:ident = $wire:literal $kind:ident $status:literal { en: $en:literal, fr: $fr:literal, de: $de:literal, it: $it:literal, })*) => {
        /// A stable error code: part of the wire contract, translated into four languages.
        ///
        /// Texts are those of `chat.*` codes of the seeds' catalogue; German is in Swiss spelling.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $wire, "`: ", $en)] $name,)*
        }

        impl Code {
            /// Every code, in alphabetical order of its wire form.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable wire form, such as `chat.message.too_long`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// The kind of failure this code belongs to.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$name => ErrorKind::$kind,)* }
            }

            /// The HTTP status a web server would answer.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The text with its `{placeholders}` still in it.
            pub const fn template(self, locale: Locale) -> &'static str {
                match (self, locale) {
                    $((Self::$name, Locale::En) => $en,
                      (Self::$name, Locale::Fr) => $fr,
                      (Self::$name, Locale::De) => $de,
                      (Self::$name, Locale::It) => $it,)*
                }
            }
        }
    };
}

codes! {
    AuditInvalid = "chat.audit.invalid" InvalidInput 422 {
        en: "The audit entry is not valid: {reason}.",
        fr: "L'entrée d'audit n'est pas valide : {reason}.",
        de: "Der Protokolleintrag ist ungültig: {reason}.",
        it: "La voce di audit non è valida: {reason}.",
    }
    AuditNotFound = "chat.audit.not_found" NotFound 404 {
        en: "Audit entry not found.",
        fr: "Entrée d'audit introuvable.",
        de: "Protokolleintrag nicht gefunden.",
        it: "Voce di audit non trovata.",
    }
    AuthExpired = "chat.auth.expired" Unauthenticated 401 {
        en: "Your sign-in has expired.",
        fr: "Votre session a expiré.",
        de: "Ihre Anmeldung ist abgelaufen.",
        it: "Il tuo accesso è scaduto.",
    }
    AuthInvalid = "chat.auth.invalid" Unauthenticated 401 {
        en: "Your sign-in is not valid.",
        fr: "Votre authentification n'est pas valide.",
        de: "Ihre Anmeldung ist ungültig.",
        it: "Il tuo accesso non è valido.",
    }
    AuthRequired = "chat.auth.required" Unauthenticated 401 {
        en: "Sign in to use the chat.",
        fr: "Connectez-vous pour utiliser le chat.",
        de: "Melden Sie sich an, um den Chat zu nutzen.",
        it: "Accedi per usare la chat.",
    }
    CacheKey = "chat.cache.key" InvalidInput 400 {
        en: "The cache key is not valid: {reason}.",
        fr: "La clé de cache n'est pas valide : {reason}.",
        de: "Der Cache-Schlüssel ist ungültig: {reason}.",
        it: "La chiave della cache non è valida: {reason}.",
    }
    ClientKeyConflict = "chat.client_key.conflict" Conflict 409 {
        en: "This message key was already used for another message.",
        fr: "Cette clé de message a déjà servi pour un autre message.",
        de: "Dieser Nachrichtenschlüssel wurde bereits für eine andere Nachricht verwendet.",
        it: "Questa chiave è già stata usata per un altro messaggio.",
    }
    ConfigInvalid = "chat.config.invalid" Config 500 {
        en: "The configuration is not valid: {reason}.",
        fr: "La configuration n'est pas valide : {reason}.",
        de: "Die Konfiguration ist ungültig: {reason}.",
        it: "La configurazione non è valida: {reason}.",
    }
    Conflict = "chat.conflict" Conflict 409 {
        en: "Someone changed this meanwhile.",
        fr: "Modifié entre-temps par quelqu'un d'autre.",
        de: "Wurde inzwischen von jemandem geändert.",
        it: "Qualcuno l'ha modificato nel frattempo.",
    }
    ConversationInvalid = "chat.conversation.invalid" InvalidInput 422 {
        en: "The conversation is not valid: {reason}.",
        fr: "La conversation n'est pas valide : {reason}.",
        de: "Die Unterhaltung ist ungültig: {reason}.",
        it: "La conversazione non è valida: {reason}.",
    }
    ConversationNotFound = "chat.conversation.not_found" NotFound 404 {
        en: "Conversation not found.",
        fr: "Conversation introuvable.",
        de: "Unterhaltung nicht gefunden.",
        it: "Conversazione non trovata.",
    }
    CursorInvalid = "chat.cursor.invalid" InvalidInput 400 {
        en: "The page reference is invalid.",
        fr: "La référence de page est invalide.",
        de: "Die Seitenreferenz ist ungültig.",
        it: "Il riferimento di pagina non è valido.",
    }
    DataCorrupt = "chat.data.corrupt" Corrupt 500 {
        en: "Stored data cannot be read.",
        fr: "Des données enregistrées sont illisibles.",
        de: "Gespeicherte Daten sind nicht lesbar.",
        it: "I dati salvati non sono leggibili.",
    }
    DeleteTooLate = "chat.delete.too_late" Conflict 409 {
        en: "The message is too old to be deleted for everyone.",
        fr: "Le message est trop ancien pour être supprimé pour tous.",
        de: "Die Nachricht ist zu alt, um für alle gelöscht zu werden.",
        it: "Il messaggio è troppo vecchio per essere eliminato per tutti.",
    }
    EditConflict = "chat.edit.conflict" Conflict 409 {
        en: "The message was changed meanwhile.",
        fr: "Le message a été modifié entre-temps.",
        de: "Die Nachricht wurde inzwischen geändert.",
        it: "Il messaggio è stato modificato nel frattempo.",
    }
    FileInvalid = "chat.file.invalid" InvalidInput 422 {
        en: "The file is not valid: {reason}.",
        fr: "Le fichier n'est pas valide : {reason}.",
        de: "Die Datei ist ungültig: {reason}.",
        it: "Il file non è valido: {reason}.",
    }
    FileNotFound = "chat.file.not_found" NotFound 404 {
        en: "File not found.",
        fr: "Fichier introuvable.",
        de: "Datei nicht gefunden.",
        it: "File non trovato.",
    }
    Forbidden = "chat.forbidden" Forbidden 403 {
        en: "You are not allowed to do this.",
        fr: "Vous n'êtes pas autorisé à faire cela.",
        de: "Sie sind dazu nicht berechtigt.",
        it: "Non sei autorizzato a farlo.",
    }
    IdInvalid = "chat.id.invalid" InvalidInput 400 {
        en: "The identifier is not valid: {reason}.",
        fr: "L'identifiant n'est pas valide : {reason}.",
        de: "Die Kennung ist ungültig: {reason}.",
        it: "L'identificativo non è valido: {reason}.",
    }
    Internal = "chat.internal" Internal 500 {
        en: "Something went wrong.",
        fr: "Une erreur s'est produite.",
        de: "Etwas ist schiefgelaufen.",
        it: "Qualcosa è andato storto.",
    }
    MemberLastAdmin = "chat.member.last_admin" Conflict 409 {
        en: "The last administrator cannot leave. Name another one first.",
        fr: "Le dernier administrateur ne peut pas partir. Nommez-en d'abord un autre.",
        de: "Der letzte Administrator kann nicht austreten. Ernennen Sie zuerst einen anderen.",
        it: "L'ultimo amministratore non può uscire. Nominane prima un altro.",
    }
    MemberLimit = "chat.member.limit" Conflict 409 {
        en: "The conversation can have at most {max} members.",
        fr: "La conversation peut avoir au plus {max} membres.",
        de: "Die Unterhaltung kann höchstens {max} Mitglieder haben.",
        it: "La conversazione può avere al massimo {max} membri.",
    }
    MessageDeleted = "chat.message.deleted" Conflict 409 {
        en: "The message was deleted.",
        fr: "Le message a été supprimé.",
        de: "Die Nachricht wurde gelöscht.",
        it: "Il messaggio è stato eliminato.",
    }
    MessageEmpty = "chat.message.empty" InvalidInput 422 {
        en: "The message is empty.",
        fr: "Le message est vide.",
        de: "Die Nachricht ist leer.",
        it: "Il messaggio è vuoto.",
    }
    MessageInvalid = "chat.message.invalid" InvalidInput 422 {
        en: "The message is not valid: {reason}.",
        fr: "Le message n'est pas valide : {reason}.",
        de: "Die Nachricht ist ungültig: {reason}.",
        it: "Il messaggio non è valido: {reason}.",
    }
    MessageNotFound = "chat.message.not_found" NotFound 404 {
        en: "Message not found.",
        fr: "Message introuvable.",
        de: "Nachricht nicht gefunden.",
        it: "Messaggio non trovato.",
    }
    MessageTooLong = "chat.message.too_long" InvalidInput 422 {
        en: "The message is too long (max. {max}).",
        fr: "Le message est trop long (max. {max}).",
        de: "Die Nachricht ist zu lang (max. {max}).",
        it: "Il messaggio è troppo lungo (max {max}).",
    }
    PageInvalid = "chat.page.invalid" InvalidInput 400 {
        en: "The page limit must lie between 1 and {max}.",
        fr: "La limite de page doit être comprise entre 1 et {max}.",
        de: "Die Seitengrösse muss zwischen 1 und {max} liegen.",
        it: "Il limite di pagina deve essere tra 1 e {max}.",
    }
    PayloadTooLarge = "chat.payload.too_large" InvalidInput 413 {
        en: "The request is too large (max. {max} bytes).",
        fr: "La requête est trop volumineuse (max. {max} octets).",
        de: "Die Anfrage ist zu gross (max. {max} Bytes).",
        it: "La richiesta è troppo grande (max {max} byte).",
    }
    PinLimit = "chat.pin.limit" Conflict 409 {
        en: "There are too many pinned messages (max. {max}).",
        fr: "Il y a trop de messages épinglés (max. {max}).",
        de: "Es gibt zu viele angeheftete Nachrichten (max. {max}).",
        it: "Ci sono troppi messaggi fissati (max {max}).",
    }
    QueueFull = "chat.queue.full" Unavailable 503 {
        en: "The chat is overloaded. Try again shortly.",
        fr: "Le chat est surchargé. Réessayez bientôt.",
        de: "Der Chat ist überlastet. Versuchen Sie es gleich erneut.",
        it: "La chat è sovraccarica. Riprova a breve.",
    }
    RateLimited = "chat.rate_limited" RateLimited 429 {
        en: "Too many messages. Try again in {seconds} s.",
        fr: "Trop de messages. Réessayez dans {seconds} s.",
        de: "Zu viele Nachrichten. Versuchen Sie es in {seconds} s erneut.",
        it: "Troppi messaggi. Riprova tra {seconds} s.",
    }
    ReactionLimit = "chat.reaction.limit" Conflict 409 {
        en: "There are too many reactions (max. {max}).",
        fr: "Il y a trop de réactions (max. {max}).",
        de: "Es gibt zu viele Reaktionen (max. {max}).",
        it: "Ci sono troppe reazioni (max {max}).",
    }
    RequestInvalid = "chat.request.invalid" InvalidInput 400 {
        en: "The request is not valid: {reason}.",
        fr: "La requête n'est pas valide : {reason}.",
        de: "Die Anfrage ist ungültig: {reason}.",
        it: "La richiesta non è valida: {reason}.",
    }
    RequestUnknown = "chat.request.unknown" InvalidInput 400 {
        en: "This request is not known.",
        fr: "Cette requête n'est pas connue.",
        de: "Diese Anfrage ist nicht bekannt.",
        it: "Questa richiesta non è conosciuta.",
    }
    RoomFull = "chat.room.full" Conflict 409 {
        en: "This room is full.",
        fr: "Cette salle est complète.",
        de: "Dieser Raum ist voll.",
        it: "Questa sala è piena.",
    }
    RoomNotFound = "chat.room.not_found" NotFound 404 {
        en: "Room not found.",
        fr: "Salle introuvable.",
        de: "Raum nicht gefunden.",
        it: "Sala non trovata.",
    }
    RoomNotMember = "chat.room.not_member" Forbidden 403 {
        en: "You are not a member of this room.",
        fr: "Vous n'êtes pas membre de cette salle.",
        de: "Sie sind kein Mitglied dieses Raums.",
        it: "Non fai parte di questa sala.",
    }
    SearchTooShort = "chat.search.too_short" InvalidInput 422 {
        en: "Type at least {min} characters.",
        fr: "Saisissez au moins {min} caractères.",
        de: "Geben Sie mindestens {min} Zeichen ein.",
        it: "Digita almeno {min} caratteri.",
    }
    ServerDraining = "chat.server.draining" Unavailable 503 {
        en: "This server is restarting.",
        fr: "Ce serveur redémarre.",
        de: "Dieser Server startet neu.",
        it: "Questo server si sta riavviando.",
    }
    Timeout = "chat.timeout" Timeout 504 {
        en: "The chat took too long to answer.",
        fr: "Le chat a mis trop de temps à répondre.",
        de: "Der Chat hat zu lange für die Antwort gebraucht.",
        it: "La chat ha impiegato troppo tempo a rispondere.",
    }
    Unavailable = "chat.unavailable" Unavailable 503 {
        en: "The chat is temporarily unavailable.",
        fr: "Le chat est temporairement indisponible.",
        de: "Der Chat ist vorübergehend nicht verfügbar.",
        it: "La chat è temporaneamente non disponibile.",
    }
    Unsupported = "chat.unsupported" Unsupported 501 {
        en: "This is not supported here.",
        fr: "Ceci n'est pas pris en charge ici.",
        de: "Dies wird hier nicht unterstützt.",
        it: "Qui non è supportato.",
    }
    UserInvalid = "chat.user.invalid" InvalidInput 422 {
        en: "The profile is not valid: {reason}.",
        fr: "Le profil n'est pas valide : {reason}.",
        de: "Das Profil ist ungültig: {reason}.",
        it: "Il profilo non è valido: {reason}.",
    }
    UserNotFound = "chat.user.not_found" NotFound 404 {
        en: "User not found.",
        fr: "Utilisateur introuvable.",
        de: "Benutzer nicht gefunden.",
        it: "Utente non trovato.",
    }
}

impl Code {
    /// Finds the code with this wire form.
    pub fn from_wire(wire: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == wire)
    }

    /// An error with this code and nothing else.
    pub fn error(self) -> Error {
        Error::new(self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, whether it took hold, and where.
///
/// ```
/// use chat_core::error::{Code, Effect, Error, Locale};
///
/// let error = Error::new(Code::MessageTooLong).with("max", 10_000);
/// assert_eq!(error.code().as_str(), "chat.message.too_long");
/// assert_eq!(error.effect(), Effect::None);
/// assert_eq!(error.message(Locale::Fr), "Le message est trop long (max. 10000).");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    effect: Effect,
    operation: Option<&'static str>,
    details: Vec<(&'static str, Cow<'static, str>)>,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

impl Error {
    /// An error that changed nothing.
    pub fn new(code: Code) -> Self {
        Self(Box::new(Inner {
            code,
            effect: Effect::None,
            operation: None,
            details: Vec::new(),
            retry_after: None,
            source: None,
        }))
    }

    /// Bad input, with the reason in plain English.
    pub fn invalid(code: Code, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code).with_text("reason", reason)
    }

    /// Names the operation, such as `"unread.advance"`.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.0.operation = Some(operation);
        self
    }

    /// Adds a detail: an id or a size, never message text, tokens or passwords.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl fmt::Display) -> Self {
        self.with_text(name, value.to_string())
    }

    fn with_text(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.0.details.push((name, value.into()));
        self
    }

    /// Says that the operation may have taken hold.
    #[must_use]
    pub fn effect_unknown(mut self) -> Self {
        self.0.effect = Effect::Unknown;
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn retry_in(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error for another who waited for the same thing; the first is its cause.
    #[must_use]
    pub fn again(self: &Arc<Self>) -> Self {
        Self(Box::new(Inner {
            code: self.0.code,
            effect: self.0.effect,
            operation: self.0.operation,
            details: self.0.details.clone(),
            retry_after: self.0.retry_after,
            source: Some(Box::new(Arc::clone(self))),
        }))
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.code.kind()
    }

    /// Whether it may have taken hold.
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// The operation that failed, if named.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// Ids and sizes that explain the failure.
    pub fn details(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.details.iter().map(|(name, value)| (*name, value.as_ref()))
    }

    /// One detail by name.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// When trying again makes sense, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// True when the same call may succeed later: outages, timeouts, rate limits.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::RateLimited)
    }

    /// The message for people, with its placeholders filled in. Not escaped: it is plain text, not HTML.
    pub fn message(&self, locale: Locale) -> String {
        let mut text = self.0.code.template(locale).to_owned();
        for (name, value) in self.details() {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        if let Some(after) = self.0.retry_after {
            text = text.replace("{seconds}", &after.as_secs_f64().ceil().to_string());
        }
        text
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.code)?;
        if let Some(operation) = self.0.operation {
            write!(f, " during {operation}")?;
        }
        for (name, value) in self.details() {
            write!(f, ", {name}: {value}")?;
        }
        if self.0.effect == Effect::Unknown {
            f.write_str(", may have taken effect")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")?;
        match &self.0.source {
            Some(source) => write!(f, " caused by {source:?}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn placeholders(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect()
    }

    #[test]
    fn every_code_speaks_four_languages_with_the_same_placeholders() {
        for code in Code::ALL {
            let english = placeholders(code.template(Locale::En));
            for locale in Locale::ALL {
                let text = code.template(locale);
                assert!(!text.is_empty(), "{code} {locale:?}");
                assert_eq!(placeholders(text), english, "{code} {locale:?}");
            }
        }
    }

    #[test]
    fn wire_forms_are_unique_sorted_and_found_again() {
        let wires: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let mut sorted = wires.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(wires, sorted);
        assert!(Code::ALL.iter().all(|code| Code::from_wire(code.as_str()) == Some(*code)));
        assert_eq!(Code::from_wire("chat.nothing"), None);
    }

    #[test]
    fn details_fill_the_message_and_the_source_is_kept() {
        let error = Error::new(Code::RateLimited)
            .retry_in(Duration::from_millis(1_200))
            .caused_by(std::io::Error::other("boom"));
        assert_eq!(error.message(Locale::De), "Zu viele Nachrichten. Versuchen Sie es in 2 s erneut.");
        assert!(error.source().is_some_and(|source| source.is::<std::io::Error>()));
        assert!(error.is_transient());
    }
}
