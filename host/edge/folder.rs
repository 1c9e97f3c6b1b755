#[derive(Default)]
pub struct HostFolders;
impl crate::capability::filesystem::Folders for HostFolders {}
