/// Declares a port and its forwarding through `Arc` and `Box`, so that no method can be forgotten.
macro_rules! port {
    (
        $(#[$about:meta])*
        pub trait $port:ident {
            $($(#[$promise:meta])* async fn $name:ident(&self $(, $arg:ident: $type:ty)* $(,)?) -> $answer:ty;)*
        }
    ) => {
        $(#[$about])*
        #[async_trait::async_trait]
        pub trait $port: std::fmt::Debug + Send + Sync + 'static {
            $($(#[$promise])* async fn $name(&self $(, $arg: $type)*) -> $answer;)*
        }

        port!(@forward $port, std::sync::Arc<T>, { $($name($($arg: $type),*) -> $answer;)* });
        port!(@forward $port, Box<T>, { $($name($($arg: $type),*) -> $answer;)* });
    };
    (@forward $port:ident, $pointer:ty, { $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* }) => {
        #[async_trait::async_trait]
        impl<T: $port + ?Sized> $port for $pointer {
            $(async fn $name(&self $(, $arg: $type)*) -> $answer {
                (**self).$name($($arg),*).await
            })*
        }
    };
}
