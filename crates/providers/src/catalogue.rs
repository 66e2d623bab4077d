//! The one list that a provider is added to.

/// Declares a role's providers: their modules, their kinds, their settings, and how each is opened.
///
/// A kind whose word is not the name of its module says so: `azure_container_apps = "azure-container-apps" => …`.
///
/// Each module has `Settings`, a plain struct of resolved values, and
/// `open(Settings, &Kit, &StackName, &ProviderName) -> impl Role + 'static`.
macro_rules! catalogue {
    (@word $module:ident) => { stringify!($module) };
    (@word $module:ident $word:literal) => { $word };
    ($role:ident: $($module:ident $(= $word:literal)? => $variant:ident),+ $(,)?) => {
        $(pub mod $module;)+

        /// The kinds that a config may name, in the order of the catalogue.
        pub const KINDS: &[&str] = &[$($crate::catalogue::catalogue!(@word $module $($word)?)),+];

        /// What one provider of this role needs, by its kind. Every reference is already followed.
        #[derive(Clone, Debug)]
        pub enum Settings {
            $(
                #[doc = concat!("For the kind `", $crate::catalogue::catalogue!(@word $module $($word)?), "`.")]
                $variant($module::Settings),
            )+
        }

        impl Settings {
            /// The kind, as a config names it.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $crate::catalogue::catalogue!(@word $module $($word)?),)+
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
