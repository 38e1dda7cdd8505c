/// Declares a port: the trait, its forwarding through `Arc` and `Box`, its operations, and its forwarding through
/// [`Guarded`](super::Guarded), so that no method can be forgotten.
///
/// `as "name"` is the port's name in the names of operations. The word before `async fn` is what a repeat after a lost
/// reply is, see [`Repeat`](super::operation::Repeat):
///
/// - `read` changes nothing;
/// - `write` answers the same when repeated: maxima, set inserts, what is claimed by name;
/// - `already` answers when repeated that it was so already;
/// - `once` has an answer that a repeat does not get (edges, sweeps, deliveries, who of many was first), or would undo when
///   repeated what another did in between (what many may change and has no version or tombstone).
///
/// `once(wait)` is a method that waits up to its argument `wait` for something to answer.
macro_rules! port {
    (
        $(#[$about:meta])*
        pub trait $port:ident as $column:literal {
            $(
                $(#[$promise:meta])*
                $repeat:ident $(($wait:ident))? async fn $name:ident(&self $(, $arg:ident: $type:ty)* $(,)?) -> $answer:ty;
            )*
        }
    ) => {
        $(#[$about])*
        #[async_trait::async_trait]
        pub trait $port: std::fmt::Debug + Send + Sync + 'static {
            $(
                $(#[$promise])*
                #[doc = port!(@told $repeat)]
                async fn $name(&self $(, $arg: $type)*) -> $answer;
            )*
        }

        impl dyn $port {
            /// Every method of this port.
            pub const OPERATIONS: &'static [$crate::store::Operation] = &[
                $(port!(@operation $column $name $repeat),)*
            ];
        }

        port!(@forward $port, std::sync::Arc<T>, { $($name($($arg: $type),*) -> $answer;)* });
        port!(@forward $port, Box<T>, { $($name($($arg: $type),*) -> $answer;)* });

        #[async_trait::async_trait]
        impl<S: $port, P: $crate::store::Policy> $port for $crate::store::Guarded<S, P> {
            $(async fn $name(&self $(, $arg: $type)*) -> $answer {
                const OPERATION: $crate::store::Operation = port!(@operation $column $name $repeat);
                let waits = port!(@waits $($wait)?);
                let attempt = || self.port.$name($($arg),*);
                self.policy.run($crate::store::Call { operation: OPERATION, waits }, &attempt).await
            })*
        }
    };
    (@forward $port:ident, $pointer:ty, { $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* }) => {
        #[async_trait::async_trait]
        impl<T: $port + ?Sized> $port for $pointer {
            $(async fn $name(&self $(, $arg: $type)*) -> $answer {
                (**self).$name($($arg),*).await
            })*
        }
    };
    (@operation $column:literal $name:ident $repeat:ident) => {
        $crate::store::Operation {
            name: concat!($column, ".", stringify!($name)),
            repeat: port!(@repeat $repeat),
        }
    };
    (@repeat read) => { $crate::store::Repeat::Read };
    (@repeat write) => { $crate::store::Repeat::Write };
    (@repeat already) => { $crate::store::Repeat::Already };
    (@repeat once) => { $crate::store::Repeat::Once };
    (@waits) => { std::time::Duration::ZERO };
    (@waits $wait:ident) => { $wait };
    (@told read) => { "" };
    (@told write) => { "\n\nRepeated after a lost reply, it answers the same." };
    (@told already) => { "\n\nRepeated after a lost reply, it answers that it was so already." };
    (@told once) => { "\n\nNot to be repeated once it may have happened." };
}
