//! The one list that a provider is added to.

/// Declares a role's providers: their modules, their kinds, their settings, and how each is opened.
///
/// Each module has `Settings`, a plain struct of resolved values, and
/// `open(Settings, &Kit, &StackName, &ProviderName) -> impl Role + 'static`.
macro_rules! catalogue {
    ($role:ident: $($module:ident => $variant:ident),+ $(,)?) => {
        $(pub mod $module;)+

        /// The kinds that a config may name, in the order of the catalogue.
        pub const KINDS: &[&str] = &[$(stringify!($module)),+];

        /// What one provider of this role needs, by its kind. Every reference is already followed.
        #[derive(Clone, Debug)]
        pub enum Settings {
            $(
                #[doc = concat!("For the kind `", stringify!($module), "`.")]
                $variant($module::Settings),
            )+
        }

        impl Settings {
            /// The kind, as a config names it.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($module),)+
                }
            }
        }

        /// Opens the provider that the config calls `provider`, for the placements of `stack`.
        pub fn open(
            settings: Settings,
            kit: &$crate::kit::Kit,
            stack: &linkflow_model::StackName,
            provider: &linkflow_model::ProviderName,
        ) -> std::sync::Arc<dyn linkflow_model::role::$role> {
            match settings {
                $(Settings::$variant(own) => {
                    std::sync::Arc::new($module::open(own, kit, stack, provider))
                })+
            }
        }
    };
}
pub(crate) use catalogue;
