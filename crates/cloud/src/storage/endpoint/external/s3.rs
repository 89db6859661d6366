//! A bucket of S3, or of what speaks like it.

use object_store::aws::AmazonS3Builder;

/// How a bucket is reached. `Debug` hides the keys.
#[derive(Clone, Default)]
pub struct S3 {
    /// `https://host[:port]` of what speaks like S3; Amazon's own where absent.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` where absent.
    pub region: Option<String>,
    /// The access key and its secret.
    pub keys: Option<(String, String)>,
    /// Plain HTTP is allowed: for loopback and trusted networks.
    pub allow_http: bool,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl S3 {
    pub(super) fn builder(&self, bucket: &str) -> AmazonS3Builder {
        let region = self.region.as_deref().unwrap_or("us-east-1");
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_region(region);
        if let Some(endpoint) = &self.endpoint {
            // Names of buckets in the path: a server of one's own has no host name for each.
            builder = builder
                .with_endpoint(endpoint.trim_end_matches('/'))
                .with_virtual_hosted_style_request(false);
        }
        if let Some((key, secret)) = &self.keys {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
        }
        builder.with_allow_http(self.allow_http)
    }
}
