//! Containers.

use super::Account;
use super::conditions::Conditions;
use super::error::{Code, Error};
use super::name;
use super::record::{Container, Metadata};

impl Account {
    /// Makes a container; [`Code::ContainerAlreadyExists`] if it is there.
    pub async fn create_container(&self, name: &str, metadata: Metadata) -> Result<Container, Error> {
        name::check_container(name)?;
        name::check_metadata(&metadata)?;
        let (name, now) = (name.to_owned(), self.inner.now());
        self.change(move |write, _| {
            if write.container(&name)?.is_some() {
                return Err(Code::ContainerAlreadyExists.into());
            }
            let container = Container { modified: now, etag: write.next_etag()?, metadata };
            write.put_container(&name, &container)?;
            Ok(container)
        })
        .await
    }

    /// Makes a container unless it is there.
    pub async fn ensure_container(&self, name: &str) -> Result<(), Error> {
        match self.create_container(name, Metadata::new()).await {
            Ok(_) | Err(Error::Refused(Code::ContainerAlreadyExists)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What is known of a container.
    pub async fn container(&self, name: &str) -> Result<Container, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.index.read(|read| read.container(&name)))
            .await?
            .ok_or(Error::Refused(Code::ContainerNotFound))
    }

    /// Replaces a container's metadata.
    pub async fn set_container_metadata(
        &self,
        name: &str,
        metadata: Metadata,
        conditions: Conditions,
    ) -> Result<Container, Error> {
        name::check_metadata(&metadata)?;
        let (name, now) = (name.to_owned(), self.inner.now());
        self.change(move |write, _| {
            let found = write.container(&name)?.ok_or(Code::ContainerNotFound)?;
            conditions.check_write(Some((found.etag, found.modified)))?;
            let container = Container { modified: now, etag: write.next_etag()?, metadata };
            write.put_container(&name, &container)?;
            Ok(container)
        })
        .await
    }

    /// Removes a container with all its blobs and blocks.
    pub async fn delete_container(&self, name: &str, conditions: Conditions) -> Result<(), Error> {
        let name = name.to_owned();
        self.change(move |write, unused| {
            let found = write.container(&name)?.ok_or(Code::ContainerNotFound)?;
            conditions.check_write(Some((found.etag, found.modified)))?;
            while let Some(blob) = write.any_blob(&name)? {
                unused.extend(write.parts(&name, &blob)?.into_iter().map(|part| part.content));
                write.remove_blob(&name, &blob)?;
            }
            for (_, blob, id, block) in write.all_blocks(Some(&name))? {
                write.remove_block(&name, &blob, &id)?;
                unused.push(block.content);
            }
            write.remove_container(&name)
        })
        .await
    }
}
