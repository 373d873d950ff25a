//! `assize.admin.v1.Config`.

use super::Services;
use crate::pb;
use crate::pb::config_server::Config;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Config for Services {
    async fn get_effective(
        &self,
        request: Request<pb::GetEffectiveRequest>,
    ) -> Result<Response<pb::GetEffectiveResponse>, Status> {
        self.admit(&request, "Config.GetEffective")?;
        let setting = |(key, value, origin)| pb::Setting { key, value, origin };
        let mut settings: Vec<pb::Setting> = self.view.config().into_iter().map(setting).collect();
        settings.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Response::new(pb::GetEffectiveResponse { node: self.view.node().0, settings }))
    }
}
